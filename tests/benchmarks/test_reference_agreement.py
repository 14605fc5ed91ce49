"""The comparison with published values reads any folder of the kinds, and hides nothing of it."""

import json

import numpy as np
import pytest

from benchmarks import reference_agreement
from tests.support import shared_data
from tests.support.reference_checks import CHECKS, check, prefix_of
from tests.support.reference_options import OPTIONS, option_of
from tests.support.shared_data import reference_names


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A shared folder of its own; add(name, settings, arrays) puts a reference file into it."""
    (tmp_path / "reference").mkdir()
    index: dict[str, dict] = {}
    for module in (shared_data, reference_agreement):
        monkeypatch.setattr(module, "SHARED", tmp_path)

    def add(name, settings, **arrays):
        np.savez(tmp_path / "reference" / f"{name}.npz", **arrays)
        index[name] = settings
        (tmp_path / "reference" / "index.json").write_text(json.dumps(index))

    return add


FILTER = {"fn": "filter", "n_samples": 2, "lower": 0.2, "upper": 0.8, "max_response_length": 3}
FILTER |= {"filter_accuracy": True, "filter_truncated": False}


def responses(kept):
    """Three prompts: half right, half right and cut, all right."""
    acc = np.array([1.0, 0.0, 1.0, 0.0, 1.0, 1.0], dtype=np.float32)
    mask = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0]])
    return {"acc": acc, "attention_mask": mask, "responses": mask, "kept_rows": np.array(kept)}


def told(capsys) -> str:
    reference_agreement.main()
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, [0, 1, 2, 3]),
        ({"filter_truncated": True}, [0, 1]),
        ({"filter_accuracy": False}, [0, 1, 2, 3, 4, 5]),
        ({"upper": 1.0, "filter_truncated": True}, [0, 1, 4, 5]),
    ],
)
def test_each_setting_of_a_file_is_honoured(folder, capsys, settings, kept):
    folder("orig_filter_0", FILTER | settings, **responses(kept))
    text = told(capsys)
    assert "0.0e+00" in text
    assert "1 of 1 files compared" in text


def test_a_setting_that_nothing_reads_is_named_and_the_others_are_compared(folder, capsys):
    folder("orig_filter_0", FILTER, **responses([0, 1, 2, 3]))
    folder("orig_filter_9", FILTER | {"exclusive": True}, **responses([0, 1]))
    text = told(capsys)
    assert "1 of 2 files compared" in text
    assert "1 not compared, exclusive: read by nothing here: orig_filter_9" in text


def test_a_value_that_we_cannot_express_is_named(folder, capsys):
    arrays = {"eos_mask": np.ones((2, 3)), "gt_scores": np.ones((2, 3))}
    folder("orig_rloo_0", {"n_samples": 2, "sources": "judge"}, **arrays)
    assert "1 not compared, sources 'judge': expected 'both' or 'rm' or 'gt'" in told(capsys)


def test_a_kind_of_which_we_have_nothing_and_a_broken_file_are_named(folder, capsys):
    folder("else_0", {}, x=np.ones(1))
    folder("orig_filter_0", FILTER, acc=np.ones(2))
    text = told(capsys)
    assert "0 of 2 files compared" in text
    assert "no function of ours computes what it holds: else_0" in text
    assert "KeyError: " in text


@pytest.mark.parametrize("prefix", CHECKS)
def test_each_kind_stands_under_the_option_that_it_is_about(prefix):
    name = reference_names(prefix)[0]
    unnamed = [
        one.what for one in check(name) if option_of(prefix_of(name), one.what) not in OPTIONS
    ]
    assert unnamed == []
