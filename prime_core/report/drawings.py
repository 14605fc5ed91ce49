"""Figures that are more than lines over iterations: intervals, stacked seconds, shares.

In: an empty canvas and a run's tables. Each returns False where there is nothing to draw yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from prime_core.report.collect import ITERATION_STAGES, RunTables
from prime_core.report.plots import SERIES, iteration_axis, legend_above, value_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def draw_evaluations(canvas: Canvas, run: RunTables) -> bool:
    """Accuracy of each benchmark over iterations, with error bars."""
    table = run.evaluations.dropna(subset="accuracy")
    if table.empty:
        return False
    axes = canvas.subplots()
    for number, (benchmark, rows) in enumerate(table.groupby("benchmark")):
        low = (rows["accuracy"] - rows["accuracy_low"]).astype(float).fillna(0).clip(lower=0)
        high = (rows["accuracy_high"] - rows["accuracy"]).astype(float).fillna(0).clip(lower=0)
        axes.errorbar(
            rows["iteration"],
            rows["accuracy"],
            yerr=np.stack([low, high]),
            fmt="o-",
            color=SERIES[number % len(SERIES)],
            capsize=2.5,
            elinewidth=1,
            label=str(benchmark).replace("_", " "),
        )
    value_axis(axes, "accuracy", True, (0, 1))
    iteration_axis(axes)
    legend_above(axes)
    return True


def draw_seconds(canvas: Canvas, run: RunTables) -> bool:
    """Seconds of each iteration, one stage upon the other."""
    table = run.stages[run.stages["iteration"] > 0]
    wide = table.pivot(index="iteration", columns="stage", values="seconds")
    if wide.empty:
        return False
    wide = wide.reindex(range(1, wide.index.max() + 1)).fillna(0)
    axes = canvas.subplots()
    edges = np.arange(0.5, len(wide) + 1)
    below = np.zeros(len(wide))
    colours = stage_colours()
    for stage in [stage for stage in colours if stage in wide]:
        above = below + wide[stage].to_numpy()
        axes.stairs(above, edges, baseline=below, fill=True, color=colours[stage], label=stage)
        below = above
    value_axis(axes, "seconds", False, (0, None))
    iteration_axis(axes)
    axes.set_xlim(0.5, len(wide) + 0.5)
    axes.grid(visible=False, axis="x")
    legend_above(axes)
    return True


def draw_shares(canvas: Canvas, run: RunTables) -> bool:
    """Share of each stage in the seconds of all jobs, start-up apart."""
    if run.stages.empty:
        return False
    totals = run.stages.groupby("stage")[["seconds", "startup_seconds"]].sum()
    totals = totals.sort_values("seconds")
    all_seconds = totals["seconds"].sum()
    work = (totals["seconds"] - totals["startup_seconds"]) / all_seconds
    startup = totals["startup_seconds"] / all_seconds
    axes = canvas.subplots()
    axes.barh(totals.index, work, color=SERIES[0], height=0.65, label="work")
    axes.barh(
        totals.index, startup, left=work, color=SERIES[0], alpha=0.35, height=0.65, label="start-up"
    )
    for row, share in enumerate(totals["seconds"] / all_seconds):
        label = f"{100 * share:.0f} %" if share >= 0.005 else "< 1 %"
        axes.annotate(
            label, (share, row), (4, 0), textcoords="offset points", va="center", fontsize=8.5
        )
    axes.set_xlim(0, 1.12 * totals["seconds"].max() / all_seconds)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    axes.set_xlabel("share of all jobs' seconds")
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    legend_above(axes)
    return True


def stage_colours() -> dict[str, str]:
    """Colour of each stage of an iteration."""
    return dict(zip((*ITERATION_STAGES, "evaluate"), [*SERIES[:6], SERIES[6]], strict=True))
