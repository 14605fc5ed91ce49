"""What the report says of evaluations: changes by problem, figures of several responses."""

import pandas as pd
import pytest

from prime_core.report.tables.collect import collect
from prime_core.report.tables.evaluations import paired_changes, sampled_rows
from prime_core.run.atomic import write_json
from prime_core.run.layout import RunFiles
from prime_core.run.tables import EVALUATION, read_json, write_table
from prime_core.stages import report
from tests.support.fake_run import make_run


def judge_responses(files: RunFiles, iteration: int, right: list[float]) -> None:
    """Judged responses beside the figures of an evaluation, one a problem."""
    rows = [
        {
            **{"prompt_id": f"p{number}", "sample": 0, "text": "", "finish_reason": "stop"},
            **{"response_length": 1, "outcome": outcome, "verdict": "", "extracted": None},
        }
        for number, outcome in enumerate(right)
    ]
    place = files.evaluation(iteration, "validation")
    write_table(place.with_suffix(".parquet"), rows, EVALUATION)


def test_the_change_is_taken_problem_by_problem_and_shown_with_its_interval(tmp_path):
    files = RunFiles(make_run(tmp_path / "run"))
    iterations = sorted(int(p.parent.name) for p in files.root.glob("evaluations/*/*.json"))
    judge_responses(files, iterations[0], [0, 0, 0, 0, 0, 0, 1, 1])
    judge_responses(files, iterations[-1], [1, 1, 1, 1, 1, 1, 1, 0])
    change = collect(files.root).changes["validation"]
    assert (change.num_better, change.num_worse, change.difference) == (6, 1, 5 / 8)
    place = files.evaluation(iterations[-1], "validation")
    pass_at_4 = {"pass@4": 0.5, "pass@4_low": 0.25, "pass@4_high": 0.75}
    write_json(place, read_json(place) | pass_at_4)
    report.run(files.root)
    page = " ".join((files.root / "report" / "report.html").read_text().split())
    low, high = 100 * change.low, 100 * change.high
    assert f"[{low:+.1f}, {high:+.1f}], exact McNemar: p&nbsp;= 0.12" in page
    assert "<td>pass@4</td><td>at least one of k is right</td>" in page
    assert '50.0 % <span class="interval">[25.0 %, 75.0 %]' in page


def test_without_responses_or_with_one_evaluation_there_is_no_change(tmp_path):
    files = RunFiles(make_run(tmp_path / "run"))
    run = collect(files.root)
    assert run.changes == {}
    judge_responses(files, 0, [1.0])
    assert paired_changes(files, run.evaluations[:1]) == {}


def test_figures_of_several_responses_are_those_with_an_interval_and_an_at_sign():
    evaluations = pd.DataFrame(
        {
            **{"benchmark": ["a", "a", "b"], "iteration": [8, 0, 0], "accuracy": [0.5, 0.25, 1]},
            **{"maj@4": [0.75, 0.5, None], "maj@4_low": [0.5, 0.25, None]},
            **{"maj@4_high": [0.8, 0.6, None], "n_samples_per_prompt": [4, 4, 1]},
        }
    )
    (row,) = sampled_rows(evaluations)
    for name in ("bon@4", "pass@16", "pass@2", "reward"):
        evaluations = evaluations.assign(**{f"{name}{b}": 0.5 for b in ("", "_low", "_high")})
    shown = [row["figure"] for row in sampled_rows(evaluations) if row["benchmark"] == "a"]
    assert shown == ["reward", "pass@2", "pass@16", "maj@4", "bon@4"]
    assert (row["benchmark"], row["figure"], row["several"]) == ("a", "maj@4", True)
    assert row["before"] == pytest.approx(
        {"accuracy": 0.5, "accuracy_low": 0.25, "accuracy_high": 0.6}
    )
    assert row["after"]["accuracy"] == 0.75
