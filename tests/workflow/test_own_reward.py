"""A reward of one's own in the workflow: the documents' example, and one that misbehaves."""

import re
import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from prime_core.run.layout import RunFiles
from prime_core.run.tables import OUTCOMES, PROMPTS, ROLLOUTS, read_json, read_table
from tests.support.shared_data import ROOT
from tests.support.workflow_runs import TINY, run, run_well

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "rewards.md").read_text(), re.DOTALL)
BAD = [f"arithmetic-{sum}" for sum in ("0+0", "0+1", "0+2", "1+3")]
# What the function does with these problems instead of judging.
MISBEHAVING = """
import time
from example import score as example

def score(response, ground_truth, row):
    match row["prompt_id"].removeprefix("arithmetic-"):
        case "0+0": raise OSError("no such table")
        case "0+1": time.sleep(10_000)
        case "0+2": return bytearray(1 << 40)
        case "1+3": return "splendid"
    return example(response, ground_truth, row)
"""
SETTINGS: dict[str, Any] = TINY | {
    "iterations": 1,
    "rollout": TINY["rollout"] | {"rollout_batch_size": 8, "n_samples_per_prompt": 2},
    "verification": {"timeout_seconds": 3, "memory_mb": 300, "max_no_verdict_share": 1.0},
    "evaluation": {"every": 1, "benchmarks": {"validation": {"n_samples_per_prompt": 1}}},
}


def judged(files: RunFiles) -> pd.DataFrame:
    """Responses of the first iteration with their outcomes and problems."""
    tables = [
        read_table(path, schema)
        for kind, schema in (("rollouts", ROLLOUTS), ("outcomes", OUTCOMES))
        for path in sorted((files.iteration(1) / kind).glob("*.parquet"))
    ]
    half = len(tables) // 2
    rollouts, outcomes = pd.concat(tables[:half]), pd.concat(tables[half:])
    prompts = read_table(files.train, PROMPTS)
    both = rollouts.merge(outcomes, on=["prompt_id", "sample"], validate="one_to_one")
    return both.merge(prompts, on="prompt_id", validate="many_to_one")


def function_settings(folder: Path, name: str, text: str, **changes: Any) -> dict[str, Any]:
    """Settings of a run that is judged by a file in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    rules = SETTINGS["verification"] | {"function": f"{name}:score"} | changes
    return SETTINGS | {"verification": rules}


@pytest.mark.slow
def test_a_run_is_rewarded_by_the_documents_example_and_by_nothing_where_it_misbehaves(tmp_path):
    settings = function_settings(tmp_path, "mine.py", MISBEHAVING)
    (tmp_path / "example.py").write_text(EXAMPLES[0])
    run_well(tmp_path, settings=settings)
    files = RunFiles(tmp_path / "results" / "tiny")
    table = judged(files)
    is_bad = table["prompt_id"].isin(BAD)
    bad = table[is_bad]
    assert len(bad) == len(table) - len(bad) == 8
    assert set(bad["verdict"]) == {"no_verdict"}
    assert bad["outcome"].isna().all()
    example = runpy.run_path(str(tmp_path / "example.py"))["score"]
    for row in table[~is_bad].to_dict("records"):
        said = example(row["text"], row["ground_truth"], row)
        assert row["outcome"] == (said if isinstance(said, float) else 0.0)
    assert set(read_table(files.batch(1), ROLLOUTS)["prompt_id"]).isdisjoint(bad["prompt_id"])
    assert files.reward_function.read_text() == MISBEHAVING
    assert read_json(files.evaluation(1, "validation")).keys() >= {"reward", "reward_low"}
    logs = "".join(path.read_text() for path in files.root.glob("logs/iterations/0001/verify*"))
    assert "OSError: no such table" in logs
    # What has judged is not edited.
    (tmp_path / "mine.py").write_text(MISBEHAVING + "\n# edited\n")
    done = run(tmp_path, settings=settings | {"iterations": 2})
    assert done.returncode != 0
    assert "mine.py has changed since responses were judged by it" in done.stdout + done.stderr


def test_both_examples_of_the_documents_reward_what_they_say():
    first, second = EXAMPLES
    for text, rewards in ((first, [1.0, 0.0]), (second, [1.0, 0.0])):
        space: dict[str, Any] = {}
        exec(text, space)
        said = [space["score"](one, "19", {}) for one in ("so\n\\boxed{19}", "\\boxed{5}")]
        assert said == rewards


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        (None, "mine.py: No such file or directory; expected FILE.py:NAME"),
        ("def scores(): ...", "mine.py defines no score; it has: scores"),
        ("x = 1\ndef score(:", "mine.py, line 2: "),
    ],
)
def test_a_function_that_is_not_there_is_refused_before_a_job_starts(tmp_path, text, refusal):
    settings = function_settings(tmp_path, "mine.py", text or "")
    if text is None:
        (tmp_path / "mine.py").unlink()
    done = run(tmp_path, "-n", settings=settings)
    assert done.returncode != 0
    assert f"verification.function: {refusal}" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
