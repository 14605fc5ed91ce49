"""Several runs on one page: their curves over each other, what they reached, how they differ.

In: the folders of runs, finished or not. Out: one HTML file without scripts, as the report's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from markupsafe import Markup

from prime_core.evaluation.statistics.paired import Paired, compare_paired
from prime_core.report.drawing.drawings import draw_accuracies
from prime_core.report.drawing.plots import (
    COLOURS,
    SERIES,
    has,
    inline,
    iteration_axis,
    legend_above,
    render,
    value_axis,
)
from prime_core.report.page import FILTERS, NOT_A_CHOICE
from prime_core.report.tables.collect import RunTables, collect
from prime_core.report.tables.evaluations import problem_means
from prime_core.report.templating import page_environment
from prime_core.run.layout import RunFiles
from prime_core.run.tables import EVALUATION, TableError, read_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

# Curves beside the accuracies: title, figure, whether it is a share.
_CURVES = (
    ("Accuracy while sampling", "rollout/accuracy", True),
    ("PRM ranking accuracy", "prm/ranking_accuracy", True),
    ("Entropy (nats)", "actor/entropy", False),
    ("Response length (tokens)", "rollout/response_length_mean", False),
    ("Update KL (nats)", "actor/ppo_kl", False),
)


def overlay(folders: list[Path]) -> str:
    """HTML text of the page. Raises TableError naming a folder that is no run's."""
    for folder in folders:
        if not RunFiles(folder).config.exists():
            raise TableError(f"{folder}: expected the folder of a run, with its config.yaml")
    if len(folders) > len(SERIES):
        raise TableError(f"{len(folders)} runs: at most {len(SERIES)} can be told apart by colour")
    runs = [collect(folder) for folder in folders]
    environment = page_environment("prime_core.report")
    environment.filters |= FILTERS
    return environment.get_template("overlay.html.j2").render(
        title=", ".join(run.name for run in runs),
        colours=COLOURS,
        runs=runs,
        results=[row for name in _benchmarks(runs) for row in _results(name, runs, folders)],
        figures=_figures(runs),
        settings=_differing(runs),
    )


def _benchmarks(runs: list[RunTables]) -> list[str]:
    """In the order of the runs' settings, those of the first first."""
    return list(dict.fromkeys(str(name) for run in runs for name in run.evaluations["benchmark"]))


def _results(benchmark: str, runs: list[RunTables], folders: list[Path]) -> list[dict[str, Any]]:
    """A row a run: its last accuracy, and the difference from the first run, paired by problem."""
    rows: list[dict[str, Any]] = []
    first: pd.Series | None = None
    for run, folder in zip(runs, folders, strict=True):
        found = run.evaluations[run.evaluations["benchmark"] == benchmark]
        found = found.dropna(subset="accuracy").sort_values("iteration")
        if found.empty:
            continue
        last = found.iloc[-1].to_dict()
        responses = RunFiles(folder).evaluation(int(last["iteration"]), benchmark)
        means = _means(responses.with_suffix(".parquet"))
        difference: Paired | None = (
            None if first is None or means is None else _paired(means, first)
        )
        first = means if first is None else first
        rows.append({"benchmark": benchmark, "run": run, "last": last, "difference": difference})
    return rows


def _means(table: Path) -> pd.Series | None:
    return problem_means(read_table(table, EVALUATION)) if table.exists() else None


def _paired(ours: pd.Series, theirs: pd.Series) -> Paired | None:
    common = ours.index.intersection(theirs.index)
    return compare_paired(ours[common], theirs[common]) if len(common) else None


def _figures(runs: list[RunTables]) -> list[dict[str, Any]]:
    drawn: list[tuple[str, str, Callable[[Canvas], bool]]] = [
        (f"accuracy-{number}", f"Accuracy on {name}", partial(_accuracy, runs, name))
        for number, name in enumerate(_benchmarks(runs))
    ]
    drawn += [
        (figure.replace("/", "-"), title, partial(_curve, runs, figure, share))
        for title, figure, share in _CURVES
        if any(has(run.iterations, figure) for run in runs)
    ]
    return [
        # Not escaped: drawn here, its texts escaped by matplotlib.
        {"name": name, "title": title, "svg": Markup(inline(render(name, 2.9, draw), name, title))}
        for name, title, draw in drawn
    ]


def _accuracy(runs: list[RunTables], benchmark: str, canvas: Canvas) -> bool:
    axes = canvas.subplots()
    for run, colour in zip(runs, SERIES, strict=False):
        rows = run.evaluations[run.evaluations["benchmark"] == benchmark].dropna(subset="accuracy")
        draw_accuracies(axes, rows, colour, run.name)
    value_axis(axes, "accuracy", True, (None, None))
    iteration_axis(axes)
    legend_above(axes)
    return True


def _curve(runs: list[RunTables], figure: str, share: bool, canvas: Canvas) -> bool:
    axes = canvas.subplots()
    for run, colour in zip(runs, SERIES, strict=False):
        table = run.iterations
        if not has(table, figure):
            continue
        axes.plot(table["iteration"], table[figure], color=colour, label=run.name)
        if has(table, f"{figure}_low"):
            low, high = (table[f"{figure}_{end}"].astype(float) for end in ("low", "high"))
            axes.fill_between(table["iteration"], low, high, color=colour, alpha=0.15, linewidth=0)
    value_axis(axes, "share" if share else "", share, (None, None))
    iteration_axis(axes)
    legend_above(axes)
    return True


def _differing(runs: list[RunTables]) -> list[dict[str, Any]]:
    """Settings that are not the same in all runs."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    rows = [{"key": key, "values": [run.settings.get(key) for run in runs]} for key in keys]
    return [
        row
        for row in rows
        if row["key"] not in NOT_A_CHOICE and any(v != row["values"][0] for v in row["values"])
    ]
