"""Two evaluations compared problem by problem, found by table, run, or run and iteration."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from prime_core.cli.main import main
from prime_core.data.problems import DataError
from prime_core.run.atomic import write_json
from prime_core.run.layout import RunFiles
from prime_core.run.tables import EVALUATION, read_json, write_table
from prime_core.tools import compare


def write_evaluation(place: Path, outcomes: dict[str, list[float | None]], name: str) -> Path:
    """Judged responses to problems, and figures beside them that name the benchmark."""
    rows = [
        {
            **{"prompt_id": prompt_id, "sample": sample, "text": "", "finish_reason": "stop"},
            **{"response_length": 1, "outcome": outcome, "verdict": "", "extracted": None},
        }
        for prompt_id, samples in outcomes.items()
        for sample, outcome in enumerate(samples)
    ]
    write_table(place.with_suffix(".parquet"), rows, EVALUATION)
    write_json(place.with_suffix(".json"), {"benchmark": name})
    return place.with_suffix(".parquet")


def test_the_comparison_is_of_the_problems_that_both_have(tmp_path):
    ours = write_evaluation(
        tmp_path / "a", {"p1": [1], "p2": [1], "p3": [0], "only-ours": [1], "p4": [None]}, "sums"
    )
    theirs = write_evaluation(tmp_path / "b", {"p3": [0], "p2": [0], "p1": [1], "p4": [1]}, "sums")
    out = tmp_path / "comparison.json"
    done = CliRunner().invoke(main, ["compare", str(ours), str(theirs), "--out", str(out)])
    assert done.exit_code == 0, done.output
    found = read_json(out)
    assert found["num_problems"] == 3
    assert found["num_not_compared"] == 2
    assert found["difference"] == pytest.approx(1 / 3)
    assert (found["num_better"], found["num_worse"], found["p_value"]) == (1, 0, 1.0)
    assert "difference +33.3 points" in done.output
    assert "not distinguishable" in done.output
    assert "2 problems that only one of them has" in done.output


def test_a_run_means_its_last_evaluation_and_a_number_behind_it_another(tmp_path):
    run, other = RunFiles(tmp_path / "run"), RunFiles(tmp_path / "other")
    write_evaluation(run.evaluation(0, "sums"), {"p1": [0], "p2": [0]}, "sums")
    write_evaluation(run.evaluation(12, "sums"), {"p1": [1], "p2": [1]}, "sums")
    # As text 9999 would come last.
    write_evaluation(run.evaluation(9999, "sums"), {"p1": [0], "p2": [0]}, "sums")
    write_evaluation(run.evaluation(10_000, "sums"), {"p1": [1], "p2": [1]}, "sums")
    write_evaluation(other.evaluation(3, "sums"), {"p1": [0], "p2": [1]}, "sums")
    last = compare.run(str(run.root), str(other.root), "sums", None)
    first = compare.run(f"{run.root}@0", str(other.root), "sums", None)
    assert (last["difference"], first["difference"]) == (0.5, -0.5)


def test_another_benchmark_is_refused_by_both_names(tmp_path):
    ours = write_evaluation(tmp_path / "a", {"p1": [1]}, "sums")
    theirs = write_evaluation(tmp_path / "b", {"p1": [1]}, "products")
    with pytest.raises(DataError, match=r"'sums'.*'products'"):
        compare.run(str(ours), str(theirs), None, None)


def test_no_problem_in_common_no_benchmark_and_no_evaluation_are_refused(tmp_path):
    ours = write_evaluation(tmp_path / "a", {"p1": [1]}, "sums")
    theirs = write_evaluation(tmp_path / "b", {"p2": [1]}, "sums")
    with pytest.raises(DataError, match="no problem in common"):
        compare.run(str(ours), str(theirs), None, None)
    with pytest.raises(DataError, match="with --benchmark"):
        compare.run(str(tmp_path), str(theirs), None, None)
    with pytest.raises(DataError, match="no evaluation of 'sums' has finished"):
        compare.run(str(tmp_path), str(theirs), "sums", None)
