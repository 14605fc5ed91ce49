"""Credit of turns beside their exact advantage, over the seeds of an agent's ablations.

    python -m benchmarks.turn_credit                                     # results/agent-credit
    python -m benchmarks.turn_credit --results results/agent-credit-8x8 --figure turn-credit.svg

For every finished run with a PRM: rank correlation of each turn's implicit reward with the exact
advantage of the policy that took it, and share of equal signs, over the batches of all iterations
but the first; beside it what an outcome alone gives to every turn of an episode. The figure has the
rank correlation by turn. docs/questions.md#agent-credit says how the advantage is found.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from prime_core.ablations.plan import load_ablations, run_name
from prime_core.evaluation.agent_credit import CREDITS, credit_figures, turn_table, world_of
from prime_core.report.drawing.plots import MUTED, SERIES, render
from prime_core.run.work import open_run

if TYPE_CHECKING:  # imported when something is drawn
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
FIRST = 2  # the PRM of the first iteration equals its reference, or has seen one batch
LEAST = 50  # turns of a point of the figure


def figures_of(run_dir: Path) -> dict[str, Any] | None:
    """Figures of all turns of the run's later batches; None: it has no PRM or has not ended."""
    if not (run_dir / "report" / "report.html").exists():
        return None
    settings, files = open_run(run_dir)
    if settings.data.env is None or settings.prm.prm_update == "none":
        return None
    env = settings.data.env
    world = world_of(env)
    tables = [turn_table(files, i, env, world) for i in range(FIRST, settings.iterations + 1)]
    return credit_figures(pd.concat(tables))


def found_in(results: Path) -> list[dict[str, Any]]:
    """Variant, title, seed and figures of each finished run with a PRM."""
    plan = load_ablations(results / "ablations.yaml")
    rows = []
    for name, variant in plan.variants.items():
        for seed in plan.seeds:
            run_dir = results / run_name(name, seed)
            if run_dir.exists() and (figures := figures_of(run_dir)):
                rows.append({"variant": name, "title": variant.title, "seed": seed} | figures)
    return rows


def lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Means over seeds as a table in Markdown, the least and the largest in brackets."""
    yield "| credit | runs | turns | rank correlation | an outcome's | equal signs | an outcome's |"
    yield "|---|---|---|---|---|---|---|"
    for title in dict.fromkeys(row["title"] for row in rows):
        of = [row for row in rows if row["title"] == title]
        cells = [
            _range([row[credit][key] for row in of], scale)
            for key, scale in (("spearman", 1), ("sign", 100))
            for credit in CREDITS
        ]
        turns = sum(row["num_turns"] for row in of)
        yield f"| {title} | {len(of)} | {turns:,} | {' | '.join(cells)} |"


def draw(canvas: Figure, rows: list[dict[str, Any]]) -> bool:
    """Rank correlation by turn; bars are the least and the largest of the seeds."""
    titles = dict.fromkeys(row["title"] for row in rows)
    of_titles = [[row for row in rows if row["title"] == title] for title in titles]
    styles: list[dict[str, Any]] = [{"color": colour, "marker": "o"} for colour in SERIES]
    found = list(zip(titles, styles, [_points(of, "implicit") for of in of_titles], strict=False))
    # Their batches differ, so what an outcome says of them does, but little.
    dashed = {"color": MUTED, "linestyle": (0, (4, 3))}
    found.append(("outcome alone", dashed, _points(rows, "outcome")))
    if not any(points for *_, points in found):
        return False
    axes = canvas.subplots()
    for label, style, points in found:
        if points:
            turns, middle, below, above = np.array(points).T
            axes.errorbar(turns, middle, yerr=[below, above], capsize=2, label=label, **style)
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.set_xlabel("turn")
    axes.set_ylabel("rank correlation with exact advantage")
    axes.legend(loc="best", ncols=2)
    return True


def _points(rows: list[dict[str, Any]], credit: str) -> list[tuple[int, float, float, float]]:
    """Turn, mean over runs, and the distances to the least and the largest of them.

    Of the turns that every run has had often enough.
    """
    found: dict[int, list[float]] = {}
    for row in rows:
        for one in row["by_turn"]:
            value = one[credit]["spearman"]
            if value is not None and one["num_turns"] >= LEAST:
                found.setdefault(one["turn"] + 1, []).append(value)
    return [
        (turn, mean, mean - min(values), max(values) - mean)
        for turn, values in sorted(found.items())
        for mean in [float(np.mean(values))]
        if len(values) == len(rows)
    ]


def _range(values: list[float | None], scale: float) -> str:
    known = [scale * value for value in values if value is not None]
    digits = 2 if scale == 1 else 0
    if not known:
        return "–"
    ends = (f"{end:.{digits}f}" for end in (np.mean(known), min(known), max(known)))
    mean, least, largest = (end.replace("-", "−") for end in ends)
    return f"{mean} ({least} to {largest})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "agent-credit")
    parser.add_argument("--figure", type=Path, help="draw correlations by turn into this SVG file")
    given = parser.parse_args()
    results = given.results.resolve()
    if not (results / "ablations.yaml").exists():
        sys.exit(f"{results}/ablations.yaml is missing: expected a folder of `snakemake ablations`")
    rows = found_in(results)
    if not rows:
        sys.exit(f"{results}: no run with a PRM has finished")
    (results / "turn-credit.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(*lines(rows), sep="\n")
    if given.figure:
        svg = render("turn-credit", 2.7, lambda canvas: draw(canvas, rows))
        given.figure.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
