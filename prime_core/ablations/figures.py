"""The ablations' figures: a panel of curves for each comparison, and all differences in one.

In: results of the ablations. Out: SVG text. Line styles and markers distinguish the two variants of
a pair where colours do not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from prime_core.ablations.findings import Estimate
from prime_core.ablations.plan import OUTCOME_LINES
from prime_core.ablations.results import READ, Results, Row
from prime_core.report.drawing.plots import GRID, INK, MUTED, PAPER, SERIES, render

if TYPE_CHECKING:  # imported when something is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLUMNS = 3
WIDTH = 8.8  # inches
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": SERIES[0], "linestyle": "-", "marker": "o", "markerfacecolor": SERIES[0]},
    {"color": SERIES[1], "linestyle": (0, (4, 2)), "marker": "s", "markerfacecolor": PAPER},
)


def curves_svg(results: Results) -> str:
    """Held-out accuracy over iterations, one panel per comparison."""
    num_rows, num_columns = grid_of(len(results.rows))
    height = num_rows * (2.1 if num_columns == COLUMNS else 3.0)
    return render(
        "ablation-curves", height, lambda canvas: draw_curves(canvas, results), width=WIDTH
    )


def grid_of(num_panels: int) -> tuple[int, int]:
    """Rows and columns of panels, so that a few fill the page's width as well."""
    num_columns = max(min(COLUMNS, num_panels), 1)
    return math.ceil(num_panels / num_columns), num_columns


def differences_svg(results: Results) -> str:
    """Paired differences with their intervals, one line per comparison."""
    height = 0.9 + 0.3 * len(results.rows)
    return render(
        "ablation-differences",
        height,
        lambda canvas: draw_differences(canvas, results),
        width=0.75 * WIDTH,
    )


def draw_curves(canvas: Canvas, results: Results) -> bool:
    """Mean over seeds of either variant, in a band of one standard error to either side."""
    if results.curves["accuracy"].isna().all():
        return False
    shown = results.rows
    num_rows, num_columns = grid_of(len(shown))
    # Shared axes, or a reader would compare heights that mean different accuracies.
    grid = canvas.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for index, (axes, row) in enumerate(zip(grid.flat, shown, strict=False)):
        _draw_pair(axes, row, results)
        if index % num_columns == 0:
            plain = row.comparison.measure == "accuracy"
            axes.set_ylabel("held-out accuracy" if plain else "share")
        if index + num_columns >= len(shown):
            axes.set_xlabel("iteration")
            # sharex labels the bottom row alone, which may be too short to have a panel below this
            # one.
            axes.tick_params(axis="x", labelbottom=True)
    return True


def _draw_pair(axes: Axes, row: Row, results: Results) -> None:
    from matplotlib.ticker import MaxNLocator

    pair = row.comparison
    for variant, style in zip((pair.first, pair.second), _STYLES, strict=True):
        column = pair.measure if variant else OUTCOME_LINES[pair.measure]
        band = curve_band(results.curves, variant or pair.first, column)
        if band.empty:
            continue
        title = side_title(results, variant)
        axes.plot(band.index, band["mean"], label=title, markersize=3.5, linewidth=1.3, **style)
        low, high = band["mean"] - band["error"], band["mean"] + band["error"]
        axes.fill_between(band.index, low, high, color=style["color"], alpha=0.16, linewidth=0)
    axes.set_title(pair.title, fontsize=8.5, loc="left", color=INK)
    axes.text(
        0.03,
        0.97,
        points(row.differences[READ]),
        transform=axes.transAxes,
        va="top",
        fontsize=7.5,
        color=MUTED,
    )
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", fontsize=7.5, handlelength=2.6, borderaxespad=0.2)


def side_title(results: Results, variant: str | None) -> str:
    """A variant's title; None: what it is compared with is no variant."""
    return results.ablations.variants[variant].title if variant else "the outcome alone"


def curve_band(curves: pd.DataFrame, variant: str, column: str = "accuracy") -> pd.DataFrame:
    """Mean and standard error over seeds by iteration; no error where there is one seed."""
    # Rows without accuracy are iterations that have rollouts but no evaluation.
    rows = curves[curves["variant"] == variant].dropna(subset=column)
    of_seeds = rows.groupby("iteration")[column]
    return pd.DataFrame({"mean": of_seeds.mean(), "error": of_seeds.sem().fillna(0.0)})


def draw_differences(canvas: Canvas, results: Results) -> bool:
    """Differences of the measure that decides, filled, and of the last iteration alone, open."""
    from matplotlib.ticker import MaxNLocator

    shown = [row for row in results.rows if row.differences[READ].num_seeds]
    if not shown:
        return False
    axes = canvas.subplots()
    margin = results.ablations.margin
    axes.axvspan(-margin, margin, color=GRID, alpha=0.6, linewidth=0)
    axes.axvline(0, color=MUTED, linewidth=1)
    # matplotlib counts upwards: the first comparison is to be on top, as in the table.
    for index, row in enumerate(reversed(shown)):
        # Apart in height, or the two intervals would hide each other.
        _interval(axes, row.differences[READ], index + 0.12, filled=True)
        _interval(axes, row.differences["last"], index - 0.16, filled=False)
    axes.set_yticks(range(len(shown)), [_label(row, results) for row in reversed(shown)])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.xaxis.set_major_formatter(
        lambda value, _: f"{value:+.3g}".replace("-", "\N{MINUS SIGN}") if value else "0"
    )
    axes.set_xlabel("first minus second, percentage points")
    return True


def _interval(axes: Axes, difference: Estimate, height: float, *, filled: bool) -> None:
    colour = SERIES[0] if filled else MUTED
    # One seed has a mean and no interval: its ends are NaN.
    if difference.num_seeds > 1:
        ends = [100 * difference.low, 100 * difference.high]
        axes.plot(ends, [height, height], color=colour, linewidth=2.0 if filled else 1.0)
    axes.plot(
        100 * difference.mean,
        height,
        marker="o",
        markersize=5 if filled else 4,
        color=colour,
        markerfacecolor=colour if filled else PAPER,
    )


def _label(row: Row, results: Results) -> str:
    pair = row.comparison
    first, second = (side_title(results, side) for side in (pair.first, pair.second))
    return f"{first} \N{MINUS SIGN} {second}" + (
        "" if pair.measure == "accuracy" else f", {pair.title}"
    )


def points(difference: Estimate) -> str:
    """A difference in percentage points: '+2.1 [0.3, 3.9]'; a dash where there is none."""
    if difference.num_seeds == 0:
        return "–"
    # + 0.0 turns -0.0 into 0.0, or a difference that rounds to zero would have a sign.
    mean, low, high = (
        round(100 * share, 1) + 0.0 for share in (difference.mean, difference.low, difference.high)
    )
    text = f"{mean:+.1f}" if difference.num_seeds == 1 else f"{mean:+.1f} [{low:.1f}, {high:.1f}]"
    return text.replace("-", "\N{MINUS SIGN}")
