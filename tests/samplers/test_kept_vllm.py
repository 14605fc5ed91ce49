"""vLLM's engine, kept between stages: with new weights as good as a fresh one, or not used."""

import json
import subprocess
import sys

import pytest

from tests.support.shared_data import ROOT
from tests.support.vllm_installed import need_vllm
from tests.support.warm import warm, warm_environment

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("vllm")]


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What came of each policy, by kind of model."""
    need_vllm()
    folder = tmp_path_factory.mktemp("kept")
    done = subprocess.run(
        warm([sys.executable, "-m", "tests.support.kept_vllm", str(folder)]),
        cwd=ROOT,
        env=warm_environment(),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["untied", "tied"])
def test_a_kept_engine_answers_as_a_fresh_one_after_each_exchange_of_weights(kind, said):
    assert said[kind] == [True, True, True, True]


def test_an_output_layer_that_kept_old_weights_is_caught_by_the_probe(said):
    first, why = said["unpacked"]
    assert first is True
    assert "after loading these weights its log-probabilities are off by" in why
