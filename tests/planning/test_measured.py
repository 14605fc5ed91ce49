"""Measured assumptions take the place of assumed ones; those of another GPU are refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from prime_core.planning.command import Options
from prime_core.planning.page import page
from prime_core.settings.reading import SettingsError
from tests.support.paper_plan import planned

pytestmark = pytest.mark.usefixtures("without_site")
FILE: dict[str, Any] = {
    "gpu": {"type": "h100", "name": "NVIDIA H100 80GB HBM3", "memory_gib": 79.1},
    "num_gpus": 8,
    "model": {"size": "7b", "dtype": "bfloat16"},
    "assumptions": {"training_mfu": 0.7, "step_ms": 2.0, "disk_gb_per_s": 8.0},
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "gpu-trial.json"
    path.write_text(json.dumps(FILE | changes), encoding="utf-8")
    return path


def test_measured_values_take_the_place_of_assumed_ones(tmp_path):
    assumed = planned(options=Options(gpu="h100"))
    found = planned(options=Options(measured=written(tmp_path)))
    case = found.case
    assert (case.gpu.name, case.gpu.memory_gib) == ("h100", 79.1)
    assert (case.assumed.training_mfu, case.assumed.step_ms, case.disk_gb_per_s) == (0.7, 2.0, 8.0)
    assert case.assumed.start_s == assumed.case.assumed.start_s
    # Twice the FLOP/s, half the seconds; four times the disk, a quarter of them.
    ours, theirs = (plan.stages["score"].seconds for plan in (found, assumed))
    assert ours.compute == pytest.approx(theirs.compute / 2)
    ours, theirs = (plan.stages["policy"].seconds for plan in (found, assumed))
    assert ours.write < theirs.write / 2


def test_what_is_given_by_hand_wins(tmp_path):
    options = Options(measured=written(tmp_path), assume=("step_ms=9",), disk_gb_per_s=1.0)
    case = planned(options=options).case
    assert (case.assumed.training_mfu, case.assumed.step_ms, case.disk_gb_per_s) == (0.7, 9, 1.0)
    assert case.measured == {"training_mfu"}


def test_the_page_says_what_was_measured(tmp_path):
    found = planned(options=Options(measured=written(tmp_path)))
    lines = page(found, [found], "7b", "here").splitlines()
    about = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert "0.7  " in about["training_mfu"]
    assert "measured: share of the GPU's FLOP/s" in about["training_mfu"]
    assert "measured: shared disk's" in about["disk_gb_per_s"]
    assert "measured" not in about["start_s"]
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({}, {"gpu": "a100"}, "measured on h100, but this plan is for a100"),
        ({}, {"gpu_memory_gb": 40}, "a GPU of 79.1 GiB, but this plan is for h100 with 40 GiB"),
        ({"assumptions": {"mfu": 0.4}}, {}, "the plan has no assumption mfu"),
        ({"assumptions": {"training_mfu": 4}}, {}, "training_mfu = 4"),
        ({"assumptions": {}}, {}, "nothing in it was measured"),
        (
            {"gpu": {"type": "rtx1", "name": "", "memory_gib": 8}},
            {},
            "'rtx1' is none that",
        ),
        ({"gpu": {"type": "h100"}}, {}, "`gpu` or `model` is incomplete"),
        ({"model": {"size": "tiny"}}, {}, "figures are of the tiny model"),
    ],
)
def test_a_file_of_something_else_is_refused_in_words(tmp_path, changes, options, words):
    path = written(tmp_path, **changes)
    with pytest.raises(SettingsError, match="--measured") as error:
        planned(options=Options(measured=path, **options))
    assert str(path) in str(error.value)
    assert words in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", '{"gpu": {}}', "\x00"])
def test_any_other_file_is_refused_in_words(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"not readable|not a file of benchmarks.gpu_trial"):
        planned(options=Options(measured=path))
