"""Judging responses that others sampled: published ones, several samples, files that do not fit."""

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from prime_core.cli.main import main
from prime_core.data.problems import DataError
from prime_core.evaluation.statistics.voting import best_of, group_answers, majority
from prime_core.run.tables import EVALUATION, SCORED_EVALUATION, read_json, read_table
from prime_core.tools import grade
from tests.support.shared_data import ROOT, read_jsonl, shared

CONFIG = ROOT / "configs" / "benchmarks.yaml"
SUMS = [{"question": f"{n}+{n}=?", "answer": str(2 * n)} for n in range(4)]


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def graded(tmp_path: Path, responses: list[dict], columns: tuple[str, ...] = ()) -> dict:
    """Figures of responses to four sums."""
    table = write_lines(tmp_path / "sums.jsonl", SUMS)
    config = tmp_path / "sums.yaml"
    keys = f"{{file: {table}, columns: {{prompt: question, ground_truth: answer}}}}"
    config.write_text(f"evaluation:\n  benchmarks:\n    sums: {keys}\n")
    return grade.run(
        benchmark="sums",
        configfiles=(config,),
        run_dir=None,
        overrides=(),
        responses=write_lines(tmp_path / "responses.jsonl", responses),
        columns=columns,
        out=tmp_path / "out.parquet",
    )


def boxed(*answers: object) -> list[str]:
    return [f"\\boxed{{{answer}}}" for answer in answers]


@pytest.mark.parametrize(
    ("benchmark", "problems", "responses", "published"),
    [
        ("gsm8k", "gsm8k_test.jsonl.gz", "rho_7b_cot_gsm8k.jsonl.gz", 0.665),
        ("math-500", "math500.jsonl.gz", "rho_7b_cot_math500.jsonl.gz", 0.339),
    ],
)
def test_published_responses_have_about_their_published_accuracy(
    benchmark, problems, responses, published, tmp_path
):
    rows = read_jsonl(responses)
    out = tmp_path / "rho.parquet"
    arguments = [
        *("grade", "--configfile", str(CONFIG), "--benchmark", benchmark),
        *("--config", f"evaluation.benchmarks.{benchmark}.file={shared(f'data/{problems}')}"),
        *("--config", "verification.no_box=last_line"),  # a base model's: they have no box
        *("--responses", str(shared(f"data/{responses}")), "--column", "prompt=question"),
        *("--out", str(out)),
    ]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert sum(row["score"] for row in rows) / len(rows) == pytest.approx(published, abs=5e-4)
    figures = read_json(out.with_suffix(".json"))
    assert figures["num_problems"] == len(rows)
    assert figures["num_unanswered"] == len(read_jsonl(problems)) - len(rows)
    assert f"{100 * figures['accuracy']:5.1f} %" in done.output
    judged = dict(zip(*(read_table(out, EVALUATION)[c] for c in ("text", "outcome")), strict=True))
    agreeing = sum(judged[row["response"]] == row["score"] for row in rows)
    # The published verdicts miss "50 dollars" and let 2500 pass for 25: see docs/benchmarks.md.
    assert agreeing / len(rows) > 0.975


def test_published_samples_have_their_published_majority_and_best_of_eight():
    rows = read_jsonl("math_cot_100_qwen.jsonl.gz")
    by_majority = by_score = by_their_majority = 0
    for row in rows:
        place = majority(group_answers(row["pred"], lambda one, other: one == other))
        assert place is not None
        by_majority += row["score"][place]
        by_score += row["score"][best_of([score for (score,) in row["pred_score"]])]
        theirs = Counter(row["pred"]).most_common(1)[0][0]  # their report's own rule
        by_their_majority += row["score"][row["pred"].index(theirs)]
    assert (by_majority, by_score) == (by_their_majority, 94) == (93, 94)


def test_published_samples_go_through_the_whole_pipeline(tmp_path):
    place = shared("data/math_cot_100_qwen.jsonl.gz")
    config = tmp_path / "qwen.yaml"
    keys = f"{{file: {place}, columns: {{prompt: question, ground_truth: answer}}}}"
    config.write_text(f"evaluation:\n  benchmarks:\n    qwen: {keys}\n")
    figures = grade.run(
        benchmark="qwen",
        configfiles=(config,),
        run_dir=None,
        overrides=(),
        responses=place,
        columns=("prompt=question", "score=pred_score"),
        out=tmp_path / "qwen.parquet",
    )
    rows = read_table(tmp_path / "qwen.parquet", SCORED_EVALUATION)
    published = [score for row in read_jsonl(place.name) for score in row["score"]]
    differing = [i for i, same in enumerate(rows["outcome"] == published) if not same]
    # Published as wrong: "4:30 p.m." (8 samples of problem 3) and "10000" for 10{,}000 (one of 72).
    assert {i // 8 for i in differing} == {3, 72}
    assert len(differing) == 9
    assert figures["accuracy"] == pytest.approx((sum(published) + 9) / 800)
    assert (figures["maj@8"], figures["bon@8"]) == (0.94, 0.96)  # published verdicts: 0.93, 0.94
    assert figures["pass@8"] == 0.98


def test_several_samples_give_every_figure_as_by_hand(tmp_path):
    answers = [(0, 0, 0, 0), (2, 2, 1, 2), (9, 9, 4, 4), (1, 2, 3, 6)]
    scores = [(0, 0, 0, 0), (1, 0, 9, 0), (0, 0, 2, 2), (0, 0, 0, 5)]
    responses = [
        {"problem": row["question"], "texts": boxed(*given), "rm": [[s] for s in score]}
        for row, given, score in zip(SUMS, answers, scores, strict=True)
    ]
    figures = graded(tmp_path, responses, ("prompt=problem", "response=texts", "score=rm"))
    assert figures["accuracy"] == (4 + 3 + 2 + 1) / 16
    assert figures["pass@2"] == pytest.approx((1 + 1 + (1 - 1 / 6) + (1 - 3 / 6)) / 4)
    assert figures["pass@4"] == 1
    assert figures["maj@4"] == 2 / 4  # 9 was sampled before 4; of four answers the first is 1
    assert figures["bon@4"] == 3 / 4
    assert figures["weighted_maj@4"] == 4 / 4
    for name in ("accuracy", "pass@2", "pass@4", "maj@4", "bon@4", "weighted_maj@4"):
        assert figures[f"{name}_low"] <= figures[name] <= figures[f"{name}_high"]
    table = read_table(tmp_path / "out.parquet", SCORED_EVALUATION)
    assert list(table["sample"]) == [0, 1, 2, 3] * 4
    assert table["score"].max() == 9


def test_votes_are_for_values_not_for_their_spelling(tmp_path):
    answers = [("5", "0", "0.0", "\\frac{0}{3}"), (1, 2, "2.0", 7), (4, 4, 4, 4), (6, 6, 6, 6)]
    responses = [
        {"prompt_id": f"benchmark-{n:06d}", "response": boxed(*given)}
        for n, given in enumerate(answers)
    ]
    assert graded(tmp_path, responses)["maj@4"] == 1


def test_a_column_may_lie_inside_another(tmp_path):
    rows = [{"prompt": row["question"], "out": {"text": boxed(row["answer"])}} for row in SUMS]
    assert graded(tmp_path, rows, ("response=out.text",))["accuracy"] == 1


def test_one_response_in_a_row_each_is_the_same_as_a_list_of_them(tmp_path):
    rows = [{"prompt": row["question"], "response": text} for row in SUMS for text in boxed(0, 6)]
    figures = graded(tmp_path, rows)
    assert figures["n_samples_per_prompt"] == 2
    assert figures["accuracy"] == 2 / 8
    assert "bon@2" not in figures


@pytest.mark.parametrize(
    ("responses", "columns", "reason"),
    [
        (
            [{"prompt": "5+5=?", "response": "x"}],
            (),
            "row 1: not one of the benchmark's problems: '5\\+5=\\?'",
        ),
        ([{"prompt_id": "b", "response": "x"}], (), "row 1: prompt_id 'b' is not one"),
        ([{"prompt": "0+0=?", "text": "x"}], (), "column response is missing; found .*'text'"),
        ([{"response": "x"}], (), "column prompt_id \\(or prompt\\) is missing"),
        ([{"prompt": "0+0=?", "response": 3}], (), "a response is not text: '3'"),
        ([{"prompt": "0+0=?", "response": "x"}], ("answer=x",), "answer: no such column"),
        ([{"prompt": "0+0=?", "response": "x"}], ("response",), "expected OURS=THEIRS"),
        (
            [{"prompt": "0+0=?", "response": ["x", "y"], "score": [1.0]}],
            (),
            "1 scores for 2 responses",
        ),
        (
            [
                {"prompt": "0+0=?", "response": "x", "score": 1.0},
                {"prompt": "1+1=?", "response": "x"},
            ],
            (),
            "1 of 2 responses have a score",
        ),
        (
            [{"prompt": "0+0=?", "response": ["x", "y"]}, {"prompt": "1+1=?", "response": "x"}],
            (),
            "1 to 2 responses to a problem",
        ),
    ],
)
def test_responses_that_do_not_fit_are_refused_with_row_and_column(
    responses, columns, reason, tmp_path
):
    with pytest.raises(DataError, match=reason):
        graded(tmp_path, responses, columns)
