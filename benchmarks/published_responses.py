r"""Published responses judged again: our accuracy beside the published accuracy of the same texts.

    python -m benchmarks.published_responses [--data ../shared/data] [--differing 3] [--out FILE]

Nothing is sampled: `prime grade` judges responses that others have published with their own
verdicts, on benchmarks as configs/benchmarks.yaml states them. Responses: Rho-1 (1B, 7B) on GSM8K
and MATH-500, OpenAI's GPT-3 models of 2021 on GSM8K, Qwen2.5-Math on 100 problems of MATH (8
samples and the scores of its reward model). For programs the data hold no published responses of a
model, but the solutions that HumanEval and MBPP publish, each of which is right.
Tables in Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prime_core.evaluation.statistics.paired import compare_paired
from prime_core.evaluation.statistics.voting import best_of, group_answers, majority
from prime_core.run.tables import EVALUATION, read_table
from prime_core.tools import grade

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "benchmarks.yaml"
COLUMNS = {"problem": "prompt", "texts": "response", "scores": "score"}
Row = dict[str, Any]


@dataclass
class Case:
    """Responses with published verdicts. responses: rows of problem, texts, verdicts, scores."""

    name: str
    benchmark: str
    problems: str
    responses: list[Row]
    settings: dict[str, str] = field(default_factory=dict)


@dataclass
class Result:
    """Results of a case: published verdict and ours for each response, figures, seconds."""

    case: Case
    published: list[bool]
    judged: list[float]
    differing: list[Row]
    figures: dict[str, Any]
    seconds: float


def read(place: Path) -> list[Row]:
    with gzip.open(place, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def cases(data: Path) -> Iterator[Case]:
    no_box = {"verification.no_box": "last_line"}  # base models: few of them write a box
    for size in ("1b", "7b"):
        for benchmark, name, problems in (
            ("gsm8k", "gsm8k", "gsm8k_test.jsonl.gz"),
            ("math-500", "math500", "math500.jsonl.gz"),
        ):
            rows = read(data / f"rho_{size}_cot_{name}.jsonl.gz")
            given = [one(row["question"], row["response"], row["score"]) for row in rows]
            yield Case(f"Rho-1 {size.upper()}", benchmark, problems, given, no_box)
    rows = read(data / "gsm8k_openai_model_solutions.jsonl.gz")
    for model in sorted({row["model"] for row in rows}):
        given = [
            one(row["question"], row["solution"], row["is_correct"])
            for row in rows
            if row["model"] == model
        ]
        yield Case(
            f"GPT-3 {model.replace('_', ' ')}", "gsm8k", "gsm8k_test.jsonl.gz", given, no_box
        )
    name = "math_cot_100_qwen.jsonl.gz"
    given = [
        {
            "problem": row["question"],
            "texts": row["code"],
            "verdicts": row["score"],
            "scores": row["pred_score"],
            "answers": row["pred"],
        }
        for row in read(data / name)
    ]
    yield Case("Qwen2.5-Math, 8 samples", "math-500", name, given, QWEN)
    for benchmark, name in (("humaneval", "humaneval.jsonl.gz"), ("mbpp", "mbpp_full974.jsonl.gz")):
        given = [solution(benchmark, row) for row in read(data / name)]
        yield Case("published solutions", benchmark, name, given)


# The responses' own file holds their problems.
QWEN = {"evaluation.benchmarks.math-500.columns": "{prompt: question, ground_truth: answer}"}


def one(problem: str, text: str, verdict: bool) -> Row:
    return {"problem": problem, "texts": [text], "verdicts": [verdict]}


def solution(benchmark: str, row: Row) -> Row:
    if benchmark == "humaneval":
        name, program = row["task_id"], row["prompt"] + row["canonical_solution"]
    else:
        name, program = f"mbpp-{row['task_id']}", row["code"]
    text = f"```python\n{program}\n```"
    return {"prompt_id": name, "texts": [text], "verdicts": [True]}


def judge(case: Case, data: Path, folder: Path) -> Result:
    responses, out = folder / "responses.jsonl", folder / "judged.parquet"
    lines = [
        json.dumps({COLUMNS.get(key, key): value for key, value in row.items()})
        for row in case.responses
    ]
    responses.write_text("\n".join(lines) + "\n", encoding="utf-8")
    key = f"evaluation.benchmarks.{case.benchmark}.file"
    settings = {key: str(data / case.problems), **case.settings}
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        figures = grade.run(
            benchmark=case.benchmark,
            configfiles=(CONFIG,),
            run_dir=None,
            overrides=tuple(f"{name}={value}" for name, value in settings.items()),
            responses=responses,
            columns=(),
            out=out,
        )
    seconds = time.perf_counter() - start
    verdicts: dict[str, list[bool]] = {}
    for row in case.responses:
        for text, verdict in zip(row["texts"], row["verdicts"], strict=True):
            verdicts.setdefault(text, []).append(verdict)
    published: list[bool] = []
    judged: list[float] = []
    differing: list[dict[str, Any]] = []
    for judgement in read_table(out, EVALUATION).to_dict("records"):
        published.append(bool(verdicts[judgement["text"]].pop(0)))
        judged.append(judgement["outcome"])
        if judgement["outcome"] != published[-1]:
            differing.append(
                {str(key): value for key, value in judgement.items()} | {"published": published[-1]}
            )
    return Result(case, published, judged, differing, figures, seconds)


def accuracy_line(result: Result) -> str:
    figures, published = result.figures, result.published
    num = figures["num_problems"]
    ours = sum(1 for row in result.differing if not row["published"])
    theirs = len(result.differing) - ours
    agreeing = 1 - len(result.differing) / len(published)
    binary = [float(verdict) for verdict in published]
    # Samples of one problem are not independent, so the test would overstate the evidence.
    one_each = figures["n_samples_per_prompt"] == 1
    p_value = f"{compare_paired(result.judged, binary).p_value:.2g}" if one_each else "–"
    return (
        f"| {result.case.name} | {result.case.benchmark} | {num} x "
        f"{figures['n_samples_per_prompt']} | {100 * sum(published) / len(published):.1f} | "
        f"{100 * figures['accuracy']:.1f} [{100 * figures['accuracy_low']:.1f}, "
        f"{100 * figures['accuracy_high']:.1f}] | {100 * agreeing:.1f} | {ours} | {theirs} | "
        f"{p_value} | {result.seconds:.1f} |"
    )


def choice_lines(result: Result) -> list[str]:
    """Majority and best of n under the published verdicts and under ours."""
    by_majority = by_score = 0
    for row in result.case.responses:
        place = majority(group_answers(row["answers"], lambda one, other: one == other))
        by_majority += row["verdicts"][place or 0]
        by_score += row["verdicts"][best_of([score for (score,) in row["scores"]])]
    num = len(result.case.responses)
    published = {"maj@8": by_majority / num, "bon@8": by_score / num}
    figures = result.figures
    return [
        f"| {name} | {f'{100 * published[name]:.1f}' if name in published else '–'} | "
        f"{100 * figures[name]:.1f} [{100 * figures[f'{name}_low']:.1f}, "
        f"{100 * figures[f'{name}_high']:.1f}] |"
        for name in figures
        if f"{name}_low" in figures and "@" in name
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--differing", type=int, default=0, help="Differing verdicts to show.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = [
        "| responses | benchmark | judged | published % | ours % [95 %] | same verdict % "
        "| only ours right | only published right | McNemar p | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    several: list[str] = []
    shown: list[str] = []
    for case in cases(options.data):
        with tempfile.TemporaryDirectory() as folder:
            result = judge(case, options.data, Path(folder))
        lines.append(accuracy_line(result))
        if result.figures["n_samples_per_prompt"] > 1:
            several = ["", "| figure | published % | ours % [95 %] |", "|---|---|---|"]
            several += choice_lines(result)
        for row in result.differing[: options.differing]:
            shown.append(
                f"{case.name}, {case.benchmark}, {row['prompt_id']}: published "
                f"{'right' if row['published'] else 'wrong'}, here {row['verdict']}: "
                f"{str(row['extracted'])[:80]!r}"
            )
    text = "\n".join([*lines, *several, *(["", *shown] if shown else [])])
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
