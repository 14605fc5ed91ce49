"""A benchmark's problems, and the verdicts on responses to them, wherever sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.data.benchmarks import stream_benchmark
from prime_core.data.problems import DataError, Dropped
from prime_core.data.prompts import problem_text
from prime_core.run.layout import RunFiles
from prime_core.run.tables import PROMPTS, read_table
from prime_core.runtime.console import note
from prime_core.runtime.partial_rows import partial_path
from prime_core.settings.evaluation import Benchmark
from prime_core.settings.run import Settings
from prime_core.verifiers.env import episode_text
from prime_core.verifiers.judge.judging import Replies
from prime_core.verifiers.problem_rows import rows_to_judge
from prime_core.verifiers.resumable import judge_all, refuse_broken

_SHOWN = 3  # malformed rows that are quoted


def benchmark_named(settings: Settings, name: str) -> Benchmark:
    """The settings of one benchmark. Raises DataError naming the known ones."""
    if name not in settings.evaluation.benchmarks:
        known = ", ".join(settings.evaluation.benchmarks)
        raise DataError(f"no benchmark '{name}' under evaluation.benchmarks; known: {known}")
    return settings.evaluation.benchmarks[name]


def benchmark_problems(
    chosen: Benchmark, settings: Settings, files: RunFiles | None
) -> tuple[pd.DataFrame, int]:
    """Columns of PROMPTS and `text`, the problem alone; and how many malformed rows there are.

    files: of the run whose held-out problems may be asked for; None: there is no run.
    Malformed rows are counted before num_problems cuts the table.
    """
    if chosen.file == "validation":
        if files is None:
            raise DataError(
                "the benchmark is a run's held-out problems (file: validation): name the run with "
                "--run"
            )
        problems, num_malformed = read_table(files.validation, PROMPTS, files.root), 0
        problems["text"] = [
            problem_text(list(messages), settings.data, ability)
            for messages, ability in zip(problems["prompt"], problems["ability"], strict=True)
        ]
    else:
        problems, num_malformed = _from_table(chosen, settings)
    return problems.head(chosen.num_problems or len(problems)), num_malformed


def _from_table(chosen: Benchmark, settings: Settings) -> tuple[pd.DataFrame, int]:
    rows, malformed = [], []
    for found in stream_benchmark(chosen, settings.data):
        if isinstance(found, Dropped):
            malformed.append(found)
        else:
            rows.append(found.row | {"text": found.text})
    for one in malformed[:_SHOWN]:
        note(f"{one.source}: row {one.row} left out: {one.detail}: {one.quote}")
    if not rows:
        raise DataError(f"{chosen.file}: holds no usable problem")
    return pd.DataFrame(rows), len(malformed)


def judge_responses(
    responses: list[dict[str, Any]],
    problems: pd.DataFrame,
    chosen: Benchmark,
    settings: Settings,
    output: Path,
    replies: Replies | None = None,
) -> list[dict[str, Any]]:
    """Rows of EVALUATION for responses with prompt_id, sample, text, finish_reason and length.

    Whole passes count alone, whatever rewards training. Verdicts are kept beside the output.
    replies: what a judge of verification.judge.path answers.
    """
    rules = settings.verification.without_partial_credit()
    texts = [(row["prompt_id"], episode_text(row)) for row in responses]
    questions = {}
    if rules.judge is not None:
        questions = dict(zip(problems["prompt_id"], problems["text"], strict=True))
    of_run = chosen.file == "validation"
    rows = rows_to_judge(problems, texts, rules, of_run=of_run, questions=questions)
    judgements = judge_all(rows, rules, partial_path(output, "verdicts"), "verifying", replies)
    refuse_broken(judgements, settings, output)
    return [
        {
            "prompt_id": row["prompt_id"],
            "sample": row["sample"],
            "text": row["text"],
            "finish_reason": row["finish_reason"],
            "response_length": row["response_length"],
            "outcome": judgement.outcome,
            "verdict": str(judgement.verdict),
            "extracted": judgement.extracted,
        }
        for row, judgement in zip(responses, judgements, strict=True)
    ]


def kinds_of_figures(
    problems: pd.DataFrame, chosen: Benchmark, settings: Settings
) -> dict[str, bool]:
    """Keywords of evaluation_figures.

    has_rewards: a user's function judges, whose rewards may lie between 0 and 1. has_answers:
    responses end in answers that can be compared, since all problems are mathematics.
    """
    by_function = bool((problems["ability"] == "function").all()) or chosen.file == "validation"
    has_rewards = settings.verification.function is not None and by_function
    is_mathematics = bool((problems["ability"] == "math").all())
    return {"has_answers": is_mathematics and not has_rewards, "has_rewards": has_rewards}
