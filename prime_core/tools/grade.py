"""`prime grade`: figures of a benchmark from responses that were sampled elsewhere.

In: settings with the benchmark, a file of responses to its problems (prime_core.data.responses).
Out: the table of judged responses and, beside it as .json, the figures that `prime evaluate` gives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prime_core.data.columns import column_map
from prime_core.data.problems import DataError
from prime_core.data.responses import read_responses_to
from prime_core.evaluation.benchmark import (
    benchmark_named,
    benchmark_problems,
    judge_responses,
    kinds_of_figures,
)
from prime_core.evaluation.figures import evaluation_figures
from prime_core.run.atomic import write_json
from prime_core.run.tables import EVALUATION, SCORED_EVALUATION, write_table
from prime_core.run.work import open_run
from prime_core.runtime.console import say
from prime_core.samplers.replying import replies_of
from prime_core.settings.reading import settings_of


def run(
    *,
    benchmark: str,
    configfiles: tuple[Path, ...],
    run_dir: Path | None,
    overrides: tuple[str, ...],
    responses: Path,
    columns: tuple[str, ...],
    out: Path,
) -> dict[str, Any]:
    """Judge a file of responses. run_dir: a run whose settings apply, instead of `configfiles`."""
    if out.suffix != ".parquet":
        raise DataError(f"--out {out}: the judged responses are a .parquet file")
    if run_dir is not None:
        settings, files = open_run(run_dir)
    else:
        settings, files = settings_of(configfiles, overrides), None
    chosen = benchmark_named(settings, benchmark)
    problems, num_malformed = benchmark_problems(chosen, settings, files)
    given = read_responses_to(problems, responses, column_map(columns))
    if not given:
        raise DataError(f"{responses}: holds no response")
    counts: dict[str, int] = {}
    for row in given:
        counts[row["prompt_id"]] = counts.get(row["prompt_id"], 0) + 1
    # Figures such as pass@n and maj@n have one n for all problems.
    if len(set(counts.values())) > 1:
        raise DataError(
            f"{responses}: {min(counts.values())} to {max(counts.values())} responses to a problem;"
            " expected the same number for each"
        )
    replies = replies_of(settings, None)
    rows = judge_responses(given, problems, chosen, settings, out, replies)
    scored = "score" in given[0]
    if scored:
        rows = [row | {"score": one["score"]} for row, one in zip(rows, given, strict=True)]
    figures = {
        "benchmark": benchmark,
        "num_malformed": num_malformed,
        "num_unanswered": len(problems) - len(counts),
    }
    figures |= evaluation_figures(
        rows, max(counts.values()), **kinds_of_figures(problems, chosen, settings)
    )
    write_table(out, rows, SCORED_EVALUATION if scored else EVALUATION)
    write_json(out.with_suffix(".json"), figures)
    for line in lines_of(figures):
        say(line)
    return figures


def lines_of(figures: dict[str, Any]) -> list[str]:
    """The figures as text, one per line."""
    problems = f"{figures['num_problems']} problems x {figures['n_samples_per_prompt']}"
    without = figures["num_unanswered"]
    first = f"grade {figures['benchmark']}: {problems}" + (
        f"; {without} problems have no response" if without else ""
    )
    names = [name for name in figures if f"{name}_low" in figures]
    return [
        first,
        *(
            f"  {name:<16} {100 * figures[name]:5.1f} %  "
            f"[{100 * figures[f'{name}_low']:.1f}, {100 * figures[f'{name}_high']:.1f}]"
            for name in names
        ),
    ]
