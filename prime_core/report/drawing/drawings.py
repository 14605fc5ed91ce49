"""Figures that are more than lines over iterations: intervals, stacked seconds and hours, shares.

In: an empty canvas and a run's tables. Each returns False where there is nothing to draw yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from prime_core.report.drawing.plots import MUTED, SERIES, iteration_axis, legend_above, value_axis
from prime_core.report.tables.collect import RunTables
from prime_core.run.stages import STAGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


def draw_evaluations(canvas: Canvas, run: RunTables) -> bool:
    """Accuracy of each benchmark over iterations, with error bars."""
    table = run.evaluations.dropna(subset="accuracy")
    if table.empty:
        return False
    axes = canvas.subplots()
    for number, (benchmark, rows) in enumerate(table.groupby("benchmark")):
        draw_accuracies(axes, rows, SERIES[number % len(SERIES)], str(benchmark).replace("_", " "))
    value_axis(axes, "accuracy", True, (0, 1))
    iteration_axis(axes)
    legend_above(axes)
    return True


def draw_accuracies(axes: Axes, rows: pd.DataFrame, colour: str, label: str) -> None:
    """A line of accuracies over iterations, with error bars where there are intervals."""
    # matplotlib refuses negative lengths, which rounding makes of zero; a gap has no bar.
    low = (rows["accuracy"] - rows["accuracy_low"]).astype(float).fillna(0).clip(lower=0)
    high = (rows["accuracy_high"] - rows["accuracy"]).astype(float).fillna(0).clip(lower=0)
    axes.errorbar(
        rows["iteration"],
        rows["accuracy"],
        yerr=np.stack([low, high]),
        fmt="o-",
        color=colour,
        capsize=2.5,
        elinewidth=1,
        label=label,
    )


def draw_steps(canvas: Canvas, run: RunTables) -> bool:
    """F1 of first wrong steps over iterations by part, and what an outcome alone reaches."""
    # In sample only where there is nothing else: its threshold is fitted to its own labels.
    table = (
        run.steps
        if run.steps["in_sample"].all()
        else run.steps[~run.steps["in_sample"].astype(bool)]
    )
    if table.empty:
        return False
    axes = canvas.subplots()
    for number, (part, rows) in enumerate(table.groupby("part", sort=False)):
        colour = SERIES[number % len(SERIES)]
        bars = np.stack([rows["f1"] - rows["f1_low"], rows["f1_high"] - rows["f1"]]).clip(min=0)
        axes.errorbar(
            rows["iteration"],
            rows["f1"],
            yerr=bars.astype(float),
            fmt="o-",
            color=colour,
            capsize=2.5,
            elinewidth=1,
            label=str(part).replace("_", " "),
        )
        if rows["outcome_only"].notna().all():
            axes.axhline(rows["outcome_only"].iloc[-1], color=colour, linestyle=":", linewidth=1)
    value_axis(axes, "F1", True, (0, None))
    iteration_axis(axes)
    legend_above(axes)
    return True


def draw_seconds(canvas: Canvas, run: RunTables) -> bool:
    """Seconds of each iteration, stacked by stage."""
    table = run.stages[run.stages["iteration"] > 0]
    wide = table.pivot(index="iteration", columns="stage", values="seconds")
    if wide.empty:
        return False
    # _stack puts row n at iteration n + 1, so those without figures need a row, too.
    wide = wide.reindex(range(1, wide.index.max() + 1)).fillna(0)
    columns = _coloured(wide)
    if not columns:
        return False
    axes = canvas.subplots()
    _stack(axes, columns)
    value_axis(axes, "seconds", False, (0, None))
    iteration_axis(axes)
    legend_above(axes)
    return True


def draw_shares(canvas: Canvas, run: RunTables) -> bool:
    """Share of each stage in the seconds of all jobs, start-up shown separately."""
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
    # Room for the label beside the longest bar: an axis counts the data alone.
    axes.set_xlim(0, 1.12 * totals["seconds"].max() / all_seconds)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    axes.set_xlabel("share of all jobs' seconds")
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    legend_above(axes)
    return True


def draw_cost(canvas: Canvas, run: RunTables) -> bool:
    """Hours of each iteration, stacked by stage, and below how long its jobs waited."""
    table = run.cost.table[run.cost.table["iteration"] > 0]
    columns = _hours(table)
    if not columns:
        return False
    # min_count: where no wait is known the sum shall be missing, not zero.
    waits = table.groupby("iteration")["longest_wait_seconds"].sum(min_count=1)
    num_panels = 2 if waits.notna().any() else 1
    axes = canvas.subplots(
        num_panels, 1, sharex=True, squeeze=False, height_ratios=[2.2, 1][:num_panels]
    )[:, 0]
    _stack(axes[0], columns)
    value_axis(axes[0], "GPU-hours" if table["gpu_hours"].any() else "CPU-hours", False, (0, None))
    legend_above(axes[0])
    if num_panels == 2:
        waits = waits.reindex(range(1, table["iteration"].max() + 1)).fillna(0)
        unit, seconds = time_unit(float(waits.max()))
        edges = np.arange(0.5, len(waits) + 1)
        axes[1].stairs(waits / seconds, edges, fill=True, color=MUTED, alpha=0.5)
        value_axis(axes[1], f"waiting ({unit})", False, (0, None))
        axes[1].grid(visible=False, axis="x")
    iteration_axis(axes[-1])
    return True


def _hours(table: pd.DataFrame) -> dict[str, tuple[pd.Series, str]]:
    """Hours of each iteration by stage, lost ones separately; of GPUs where any were used."""
    if table.empty:
        return {}
    kind = "gpu" if table["gpu_hours"].any() else "cpu"
    iterations = range(1, int(table["iteration"].max()) + 1)
    # Lost hours get a colour of their own, so they must not be in a stage's as well.
    kept = table.assign(kept=table[f"{kind}_hours"] - table[f"lost_{kind}_hours"])
    wide = kept.pivot(index="iteration", columns="stage", values="kept")
    lost = table.groupby("iteration")[f"lost_{kind}_hours"].sum().reindex(iterations).fillna(0)
    columns = _coloured(wide.reindex(iterations).fillna(0))
    return columns | ({"lost": (lost, MUTED)} if lost.any() else {})


def time_unit(seconds: float) -> tuple[str, float]:
    """The most readable unit for a time, and its seconds."""
    return ("s", 1.0) if seconds < 180 else ("min", 60.0) if seconds < 10800 else ("h", 3600.0)


def _coloured(wide: pd.DataFrame) -> dict[str, tuple[pd.Series, str]]:
    """The columns of a table that are stages and hold anything, in order, with their colours."""
    return {
        stage: (wide[stage], colour)
        for stage, colour in stage_colours().items()
        if stage in wide and wide[stage].any()
    }


def _stack(axes: Axes, columns: Mapping[str, tuple[pd.Series, str]]) -> None:
    """Stacked columns, one stack per iteration. columns: name -> heights, colour."""
    length = len(next(iter(columns.values()))[0])
    edges, below = np.arange(0.5, length + 1), np.zeros(length)
    for name, (heights, colour) in columns.items():
        above = below + heights.to_numpy()
        axes.stairs(above, edges, baseline=below, fill=True, color=colour, label=name)
        below = above
    axes.set_xlim(0.5, length + 0.5)
    axes.grid(visible=False, axis="x")


def stage_colours() -> dict[str, str]:
    """Colour of each stage of an iteration, and of evaluations."""
    # From the table of stages, so that a stage has one colour in all figures, however many run.
    return {name: SERIES[kind.colour] for name, kind in STAGES.items() if kind.colour is not None}
