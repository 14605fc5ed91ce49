"""`prime compare`: two models on the same problems of a benchmark, by a paired test.

In: two tables of judged responses (evaluations/<i>/<benchmark>.parquet, or of `prime grade`).
Out: the difference of their accuracies with its 95 % interval, and a p-value.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from prime_core.data.problems import DataError
from prime_core.evaluation.statistics.paired import compare_paired
from prime_core.report.tables.evaluations import problem_means
from prime_core.run.atomic import write_json
from prime_core.run.layout import RunFiles, in_order
from prime_core.run.naming import split_run_at
from prime_core.run.tables import EVALUATION, read_json, read_table
from prime_core.runtime.console import say


def run(first: str, second: str, benchmark: str | None, out: Path | None) -> dict[str, Any]:
    """Compare two evaluations: tables, or with a benchmark runs (RUN: its last, RUN@ITERATION)."""
    tables = [table_of(text, benchmark) for text in (first, second)]
    of = [_benchmark_of(table) for table in tables]
    if None not in of and of[0] != of[1]:
        raise DataError(
            f"{tables[0]} is of benchmark '{of[0]}', {tables[1]} of '{of[1]}': their problems are "
            "not the same"
        )
    ours, theirs = (problem_means(read_table(table, EVALUATION)) for table in tables)
    common = ours.index.intersection(theirs.index, sort=None)
    if common.empty:
        raise DataError(f"{tables[0]} and {tables[1]} have no problem in common")
    found = compare_paired(ours[common], theirs[common])
    num_alone = len(ours) + len(theirs) - 2 * len(common)
    values = asdict(found) | {
        "first": str(tables[0]),
        "second": str(tables[1]),
        "first_accuracy": float(ours[common].mean()),
        "second_accuracy": float(theirs[common].mean()),
        "num_not_compared": num_alone,
    }
    if out is not None:
        write_json(out, values)
    for line in lines_of(values):
        say(line)
    return values


def table_of(text: str, benchmark: str | None) -> Path:
    """The table that RUN, RUN@ITERATION or a table's own name means."""
    if text.endswith(".parquet"):
        return Path(text)
    if benchmark is None:
        raise DataError(f"{text}: expected a .parquet table, or a run's folder with --benchmark")
    run_dir, iteration = split_run_at(text)
    if iteration is not None:
        return RunFiles(run_dir).evaluation(iteration, benchmark).with_suffix(".parquet")
    tables = in_order((run_dir / "evaluations").glob(f"[0-9]*/{benchmark}.parquet"))
    if not tables:
        raise DataError(f"{run_dir}: no evaluation of '{benchmark}' has finished")
    return tables[-1]


def _benchmark_of(table: Path) -> str | None:
    """The benchmark that the figures beside a table name; None where there are none."""
    figures = table.with_suffix(".json")
    return read_json(figures).get("benchmark") if figures.exists() else None


def lines_of(values: dict[str, Any]) -> list[str]:
    """The comparison as lines of text."""
    low, high = 100 * values["low"], 100 * values["high"]
    reading = "not distinguishable" if low <= 0 <= high else "they differ"
    alone = values["num_not_compared"]
    lines = [
        f"first  {100 * values['first_accuracy']:6.1f} %  {values['first']}",
        f"second {100 * values['second_accuracy']:6.1f} %  {values['second']}",
        f"difference {100 * values['difference']:+.1f} points [{low:+.1f}, {high:+.1f}] on "
        f"{values['num_problems']} problems: {values['num_better']} better, "
        f"{values['num_worse']} worse",
        f"{values['test']}: p = {values['p_value']:.3g}; {reading}",
    ]
    if alone:
        lines.append(f"{alone} problems that only one of them has are left out")
    return lines
