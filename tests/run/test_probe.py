"""What a sampler's log-probabilities say about the weights that it holds."""

import math

import pytest

from prime_core.run.probe import Probe, read_probe

NOW, BEFORE = [[-1.0, -2.0], [-0.5]], [[-1.1, -1.9], [-0.6]]
PROBE = Probe([[5], [6, 7]], [[8, 9], [10]], NOW, BEFORE)


def shifted(rows, by):
    return [[value + by for value in row] for row in rows]


def test_a_probe_is_read_as_it_was_written(tmp_path):
    assert read_probe(tmp_path) is None
    PROBE.write(tmp_path)
    assert read_probe(tmp_path) == PROBE


@pytest.mark.parametrize(("dtype", "rounding"), [("float32", 1e-5), ("bfloat16", 0.03)])
def test_rounding_is_no_fault(dtype, rounding):
    assert PROBE.fault(shifted(NOW, rounding), dtype) is None
    assert PROBE.fault([[-1.0], [-0.5]], dtype) is None  # sequences that were cut


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_before_the_update_are_one(dtype):
    assert "off by 0.1 nats" in str(PROBE.fault(BEFORE, dtype))
    assert "off by nan" in str(PROBE.fault(shifted(NOW, math.nan), dtype))
    assert "off by nan" in str(PROBE.fault([[], []], dtype))  # nothing was compared


def test_old_weights_are_found_where_rounding_would_hide_them():
    small = Probe(PROBE.prompts, PROBE.responses, NOW, shifted(NOW, 0.03))
    assert small.fault(shifted(NOW, 0.01), "bfloat16") is None
    old = small.fault(shifted(NOW, 0.02), "bfloat16")
    assert old == "its log-probabilities are those of the weights before"
    # An update that moves less than rounding tells nothing.
    tiny = Probe(PROBE.prompts, PROBE.responses, NOW, shifted(NOW, 0.01))
    assert tiny.fault(shifted(NOW, 0.01), "bfloat16") is None
