"""Partial credit through the stages: shares are trained on, whole passes are counted."""

from pathlib import Path
from typing import Any

import pytest

from prime_core.evaluation.benchmark import judge_responses
from prime_core.evaluation.figures import evaluation_figures
from prime_core.report.tables.collect import iteration_table
from prime_core.run.changes import refused_changes
from prime_core.run.layout import RunFiles
from prime_core.run.tables import (
    BATCH,
    OUTCOMES,
    PROMPTS,
    ROLLOUTS,
    read_json,
    read_table,
    write_table,
)
from prime_core.settings.evaluation import Benchmark
from prime_core.settings.reading import parse_settings
from prime_core.settings.run import Settings
from prime_core.stages import policy, prm, score, select, verify
from tests.support.made_up_batch import made_up_batch

pytestmark = pytest.mark.usefixtures("one_rank")

TESTS = '{"fn_name": "f", "inputs": [[0], [1], [2], [3]], "outputs": [0, 1, 2, 3]}'
PASSED = [4, 2, 1, 0, 3, 3, 0, 0]  # of the tests, by response


def program(passed: int) -> str:
    """A response whose program is right for the first arguments."""
    return f"```python\ndef f(x): return x if x < {passed} else None\n```"


@pytest.fixture(scope="module")
def judged_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFiles, Settings]:
    """Eight responses to two programming problems, judged by the stage `verify`."""
    tmp_path = tmp_path_factory.mktemp("judged")
    changes: dict[str, Any] = {
        "verification.partial_credit": "all_tests",
        "verification.sandbox": "none",
        "rollout.rollout_batch_size": 2,
        "rollout.n_samples_per_prompt": 4,
        "rollout.num_shards": 1,
        "rollout.refill_rounds": 0,
        "prm.mini_batch_size": 8,
        "prm.optimizer": {"learning_rate": 1e-2},
    }
    files = made_up_batch(tmp_path, **changes)
    rows = read_table(files.batch(1), BATCH)
    rows["text"] = [program(passed) for passed in PASSED]
    files.batch(1).unlink()
    write_table(files.rollouts(1, 0), rows, ROLLOUTS)
    problem = {"prompt": [], "ability": "code", "ground_truth": TESTS, "data_source": "test"}
    write_table(files.train, [{"prompt_id": f"p{n}"} | problem for n in (0, 1)], PROMPTS)
    verify.run(files.root, 1, 0)
    return files, parse_settings({"run": "made-up", "results": str(tmp_path), **changes}, "test")


def test_shares_pass_the_filter_and_are_trained_on(judged_run: tuple[RunFiles, Settings]) -> None:
    files, _ = judged_run
    outcomes = read_table(files.outcomes(1, 0), OUTCOMES)
    assert outcomes["outcome"].tolist() == [passed / 4 for passed in PASSED]
    assert outcomes["verdict"].tolist() == ["correct", *["wrong"] * 7]
    select.run(files.root, 1)
    figures = read_json(files.metrics(1, "select"))
    assert figures["rollout/accuracy"] == 1 / 8
    assert figures["rollout/outcome_mean"] == sum(PASSED) / 32
    # No response of the second group passes wholly: without shares it would teach nothing.
    assert read_table(files.batch(1), BATCH)["outcome"].tolist() == [n / 4 for n in PASSED]
    score.run(files.root, 1)
    prm.run(files.root, 1)
    figures = read_json(files.metrics(1, "score"))
    assert figures["reward/outcome_mean"] == pytest.approx(sum(PASSED) / 32)
    assert figures["prm/num_pairs"] == sum(
        abs(a - b) / 4 for group in (PASSED[:4], PASSED[4:]) for i, a in enumerate(group)
        for b in group[:i]
    )  # fmt: skip
    policy.run(files.root, 1)
    assert read_json(files.metrics(1, "policy"))["actor/grad_norm"] > 0
    row = iteration_table(files).iloc[0]
    assert row["rollout/accuracy_low"] < 1 / 8 < row["rollout/accuracy_high"]


def test_evaluations_count_whole_passes(judged_run: tuple[RunFiles, Settings]) -> None:
    files, settings = judged_run
    responses = read_table(files.rollouts(1, 0), ROLLOUTS).assign(response_length=1)
    problems = read_table(files.train, PROMPTS)
    asked: list[Any] = responses.to_dict("records")
    rows = judge_responses(asked, problems, Benchmark(), settings, files.root)
    assert [row["outcome"] for row in rows] == [1.0, *[0.0] * 7]
    figures = evaluation_figures(rows, 4, has_answers=False)
    assert (figures["accuracy"], figures["pass@4"]) == (1 / 8, 1 / 2)
    # Nor would they if a table held shares.
    for row, passed in zip(rows, PASSED, strict=True):
        row["outcome"] = 1.0 if passed > 1 else 0.5
    assert evaluation_figures(rows, 4, has_answers=False) == figures


def test_partial_credit_changes_outcomes_but_no_evaluation(
    judged_run: tuple[RunFiles, Settings], tmp_path: Path
) -> None:
    files, old = judged_run
    changed = old.verification.model_copy(update={"max_tests": 5, "partial_credit": "first_tests"})
    new = old.model_copy(update={"verification": changed})
    assert [line.split(":")[0] for line in refused_changes(old, new, files)] == [
        "verification.max_tests", "verification.partial_credit",
    ]  # fmt: skip
    evaluated = RunFiles(tmp_path)
    evaluated.evaluation(0, "validation").parent.mkdir(parents=True)
    evaluated.evaluation(0, "validation").write_text("{}")
    assert refused_changes(old, new, evaluated) == []
