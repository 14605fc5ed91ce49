"""Figures of a reproduction: accuracy over hours, and learning curves beside published figures.

In: an empty canvas and a run's tables. Each returns False where there is nothing to draw yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from prime_core.report.drawing.drawings import time_unit
from prime_core.report.drawing.plots import (
    MUTED,
    SERIES,
    WIDTH,
    iteration_axis,
    legend_above,
    value_axis,
)
from prime_core.report.reproduction.comparison import Comparison, Reproduction, compare
from prime_core.report.reproduction.published import published
from prime_core.report.reproduction.time_to_accuracy import SAMPLED, curves, hours_of
from prime_core.report.tables.collect import RunTables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

PANEL_HEIGHT = 1.9  # inches


def draw_hours(canvas: Canvas, run: RunTables) -> bool:
    """Accuracy of each benchmark, and of the training prompts, over the hours spent by then."""
    hours = hours_of(run)
    found = curves(run)
    if not found or hours.table.empty:
        return False
    # Slurm's hours stay hours; for a small run on a laptop minutes are easier to read.
    unit, seconds = (
        ("h", 3600.0) if hours.counted else time_unit(3600 * hours.until(run.last_iteration))
    )
    a_unit = 3600 / seconds
    axes = canvas.subplots()
    for number, (name, curve) in enumerate(found):
        # Responses of an iteration are sampled before its update.
        at = [a_unit * hours.until(int(i) - (name == SAMPLED)) for i in curve["iteration"]]
        if name == SAMPLED:
            axes.plot(at, curve["accuracy"], color=MUTED, linewidth=1, zorder=1, label=name)
        else:
            _with_bars(axes, at, curve, SERIES[number % len(SERIES)], name.replace("_", " "))
    value_axis(axes, "accuracy", True, (0, 1))
    axes.set_xlabel(hours.unit if hours.counted else f"{hours.unit} ({unit})")
    legend_above(axes)
    return True


def draw_published(canvas: Canvas, run: RunTables) -> bool:
    """One panel per benchmark that the published row has, too: the run's curve, its figures."""
    found = compare(run)
    if not found.comparisons:
        return False
    columns = min(2, len(found.comparisons))
    rows = -(-len(found.comparisons) // columns)
    # FIGURES has one height, but how many panels there are depends on the published row.
    canvas.set_size_inches(WIDTH, 0.5 + PANEL_HEIGHT * rows)
    grid = canvas.subplots(rows, columns, squeeze=False)
    known = {name: curve for name, curve in curves(run) if name != SAMPLED}
    for axes, one in zip(grid.flat, found.comparisons, strict=False):
        _draw_twin(axes, one, known[one.benchmark], found)
    for axes in list(grid.flat)[len(found.comparisons) :]:
        axes.set_visible(False)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper left", ncols=2, fontsize=8.5)
    return True


def _draw_twin(axes: Axes, one: Comparison, curve: pd.DataFrame, found: Reproduction) -> None:
    colour = SERIES[1]
    axes.axhspan(one.published.low, one.published.high, color=colour, alpha=0.14, linewidth=0)
    axes.axhline(one.published.mean, color=colour, linewidth=1.2, label="published")
    if one.published_start is not None:
        axes.axhline(one.published_start, color=colour, linewidth=1, linestyle=(0, (2, 3)))
    last = float(curve["iteration"].max())
    points = published_points(one, found, last)
    axes.plot(list(points), list(points.values()), "s", color=colour, markersize=4)
    _with_bars(axes, list(curve["iteration"]), curve, SERIES[0], "this run")
    axes.set_title(one.title, fontsize=9, loc="left")
    value_axis(axes, "", True, (0, None))
    iteration_axis(axes)


def published_points(one: Comparison, found: Reproduction, last: float) -> dict[int, float]:
    """Other published iterations of the same run, as far as the run has come."""
    known = published()
    points = {}
    for row in known.siblings(found.row):
        # Any number above one selects the average over samples.
        figure = known.figure(row, one.twin, samples=2 if one.averaged else 1)
        if figure and figure.averaged == one.averaged and (row.iteration or 0) <= last:
            points[row.iteration or 0] = figure.estimate.mean
    return points


def _with_bars(axes: Axes, at: list[float], curve: pd.DataFrame, colour: str, label: str) -> None:
    means = curve["accuracy"].astype(float)
    ends = [means - curve["accuracy_low"], curve["accuracy_high"] - means]
    axes.errorbar(
        at,
        means,
        yerr=np.stack([end.astype(float).fillna(0).clip(lower=0) for end in ends]),
        fmt="o-",
        color=colour,
        capsize=2.5,
        elinewidth=1,
        label=label,
    )
