"""Drawing: panels of lines over iterations, as SVG text.

In: tables of a run and what to draw. Out: an SVG file's text, light on white; `inline` makes it a
part of a page that follows the page's colours, light or dark, and its width.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:  # imported when something is drawn: it takes most of a second
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# Name of a colour in the page -> light, dark. The first two series are right and wrong, positive
# and negative everywhere; blue and orange stay distinguishable for colour-blind readers.
COLOURS = {
    "ink": ("#1f2328", "#e6e8eb"),
    "muted": ("#646c76", "#9aa3ad"),
    "grid": ("#e4e6e9", "#33383f"),
    "paper": ("#ffffff", "#16191d"),
    "series-1": ("#2b6cb0", "#79b0e8"),
    "series-2": ("#c2610c", "#f0a05a"),
    "series-3": ("#2f855b", "#6dc69a"),
    "series-4": ("#8a4fae", "#c79be4"),
    "series-5": ("#b23a6b", "#ec8fb4"),
    "series-6": ("#0f8290", "#5cc5d1"),
    "series-7": ("#8b7320", "#d3bd68"),
    "series-8": ("#56606b", "#a7b1bc"),
    "series-9": ("#7a4a2b", "#c99b78"),
    "series-10": ("#5b6e1c", "#b4c76a"),
    "series-11": ("#4450a8", "#9aa5ee"),
}
SERIES = [light for name, (light, _) in COLOURS.items() if name.startswith("series")]
WIDTH = 4.4  # inches: text stays readable when the figure shrinks to a phone's width
INK, MUTED, GRID, PAPER = (COLOURS[name][0] for name in ("ink", "muted", "grid", "paper"))
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small files, the reader's own font
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a benchmark's name may hold a dollar sign
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Panel:
    """Lines over iterations. series: what the legend calls a line -> column of figures."""

    label: str
    series: Mapping[str, str]
    percent: bool = False
    bounds: tuple[float | None, float | None] = (None, None)
    level: float | None = None  # a dashed line to compare with
    least: float = 0.0  # what the axis spans at least: below it lies rounding
    dashed: frozenset[str] = field(default_factory=frozenset)


def draw_panels(canvas: Canvas, panels: tuple[Panel, ...], table: pd.DataFrame) -> bool:
    """Panels that have figures, stacked over the same iterations; False: none has any."""
    shown = [panel for panel in panels if any(has(table, c) for c in panel.series.values())]
    if not shown:
        return False
    all_axes = canvas.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for panel, axes in zip(shown, all_axes, strict=True):
        _draw_panel(axes, panel, table)
    iteration_axis(all_axes[-1])
    return True


def _draw_panel(axes: Axes, panel: Panel, table: pd.DataFrame) -> None:
    marker, width = ("o", 1.6) if len(table) <= 40 else ("", 1.0)
    for colour, (name, column) in zip(SERIES, panel.series.items(), strict=False):
        if not has(table, column):
            continue
        # Gaps show the line below where two coincide.
        dashed = name in panel.dashed
        axes.plot(
            table["iteration"],
            table[column],
            linestyle=(0, (3, 3)) if dashed else "-",
            linewidth=width,
            marker="" if dashed else marker,
            color=colour,
            label=name,
        )
        if has(table, f"{column}_low"):
            low, high = (table[f"{column}_{end}"].astype(float) for end in ("low", "high"))
            axes.fill_between(table["iteration"], low, high, color=colour, alpha=0.18, linewidth=0)
    if panel.level is not None:
        axes.axhline(panel.level, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    value_axis(axes, panel.label, panel.percent, panel.bounds)
    bottom, top = axes.get_ylim()
    if top - bottom < panel.least:
        middle = (bottom + top) / 2
        axes.set_ylim(middle - panel.least / 2, middle + panel.least / 2)
    if len(panel.series) > 1:
        legend_above(axes)


def has(table: pd.DataFrame, column: str) -> bool:
    """Whether the column exists and holds a figure."""
    return column in table and bool(table[column].notna().any())


def value_axis(
    axes: Axes, label: str, percent: bool, bounds: tuple[float | None, float | None]
) -> None:
    """Label, number format and fixed ends of the y axis."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_ylabel(label)
    # Stacked panels are low: more labels would touch.
    num_ticks = 5 if len(axes.figure.axes) == 1 else 3
    axes.yaxis.set_major_locator(MaxNLocator(num_ticks, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value, percent)))
    low, high = bounds
    # Else a line at either end would be cut in half by the frame.
    if low is not None and high is not None:
        margin = 0.03 * (high - low)
        low, high = low - margin, high + margin
    elif low is not None:
        # `or None`: where all values are 0 the ends would be equal, so matplotlib chooses.
        high = low + 1.06 * (axes.dataLim.y1 - low) or None
    axes.set_ylim(bottom=low, top=high)


def tick_text(value: float, percent: bool) -> str:
    """A number at an axis, with a real minus sign."""
    text = f"{100 * value:.3g} %" if percent else f"{value:.4g}"
    return text.replace("-", "\N{MINUS SIGN}")


def iteration_axis(axes: Axes) -> None:
    """The x axis: whole iterations."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("iteration")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def legend_above(axes: Axes) -> None:
    """A legend in rows of at most four, above the axes where it hides nothing."""
    labels = axes.get_legend_handles_labels()[1]
    # matplotlib does not break a legend's lines: long names in four columns would be cut off.
    columns = 4 if max(map(len, labels)) <= 12 else 2
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 0.98),
        ncols=min(columns, len(labels)),
        columnspacing=1.2,
        fontsize=8.5,
    )


# What a figure without anything to draw says of itself: it is shown, but is no result.
EMPTY = "no figures yet"


def render(name: str, height: float, draw: Callable[[Canvas], bool], width: float = WIDTH) -> str:
    """SVG text of one figure; `draw(canvas)` returns False where there is nothing to draw yet.

    Such an empty one has EMPTY in its metadata. The same figures give the same text: `name` seeds
    the element ids.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    # Ids are random without a salt; a fixed one keeps unchanged figures byte for byte equal.
    with rc_context({**STYLE, "svg.hashsalt": name}):
        canvas = Canvas(figsize=(width, height))
        # Not pyplot: it keeps every figure in a global list and picks a backend by the display.
        FigureCanvasSVG(canvas)
        about = None
        if not draw(canvas):
            about = EMPTY
            canvas.set_size_inches(width, 0.5)
            canvas.text(0.5, 0.5, EMPTY, ha="center", va="center", color=MUTED)
        text = io.StringIO()
        canvas.savefig(text, format="svg", metadata={"Date": None, "Description": about})
    return text.getvalue()


def inline(svg: str, name: str, title: str) -> str:
    """The <svg> element for a page: colours by name, its column's width, ids unique in the page."""
    # XML's declaration and doctype have no place in HTML; metadata and namespaces are addresses of
    # the network, and HTML's parser needs neither.
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r' xmlns(:\w+)?="[^"]*"', "", element)
    # Without its namespace the prefix means nothing; SVG 2 has the plain name.
    element = element.replace("xlink:href", "href")
    # matplotlib gives the groups of each figure the same ids (axes_1, ...).
    element = re.sub(r'(?<= )id="', f'id="{name}-', element)
    element = element.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    # matplotlib writes colours as COLOURS does: lowercase, six digits.
    for colour, (light, _) in COLOURS.items():
        element = element.replace(light, f"var(--{colour})")
    return re.sub(
        r'<svg width="[^"]*" height="[^"]*"',
        f'<svg role="img" aria-label="{title}"',
        element,
        count=1,
    )
