"""Which stage a file of a run belongs to."""

from pathlib import Path

import pytest

from prime_core.run.stage_paths import stage_of
from prime_core.run.stages import Stage


@pytest.mark.parametrize(
    ("path", "stage", "shown"),
    [
        ("sft.log", Stage(0, "sft", ""), "sft"),
        ("iterations/0012/policy.log", Stage(12, "policy", ""), "policy 12"),
        ("iterations/0003/sample-01.tsv", Stage(3, "sample", "01"), "sample 3 01"),
        ("evaluations/0000/aime.log", Stage(0, "evaluate", "aime"), "evaluate 0 aime"),
        (
            "evaluations/0016/math-500.json",
            Stage(16, "evaluate", "math-500"),
            "evaluate 16 math-500",
        ),
    ],
)
def test_a_files_place_names_its_stage(path, stage, shown):
    assert stage_of(Path(path)) == stage
    assert str(stage) == shown
