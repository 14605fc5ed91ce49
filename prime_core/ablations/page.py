"""The ablations' page: one HTML file that needs nothing else and no network.

In: results of the ablations, figures as SVG. Out: HTML text, everything not written here escaped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from prime_core.ablations.figures import points, side_title
from prime_core.ablations.findings import Reading
from prime_core.ablations.plan import run_name
from prime_core.ablations.results import MEASURES, READ, Results
from prime_core.report.drawing.plots import COLOURS, inline
from prime_core.report.page import duration_or_dash, shown
from prime_core.report.templating import page_environment
from prime_core.settings.reading import flatten

FIGURES = {
    "curves": (
        "Curves",
        "Held-out accuracy by iteration, mean over seeds; the band is one standard error to either "
        "side. In the corner: first minus second in percentage points, mean over the evaluations "
        "after the start, with the 95 % interval over seeds. Pairs share seeds, so the interval is "
        "narrower than the bands suggest.",
    ),
    "differences": (
        "Differences",
        "First minus second with 95 % intervals over seeds. Filled: mean over evaluations, which "
        "decides; open: last iteration alone. Grey: the margin within which a difference counts as "
        "none.",
    ),
}
# What a comparison is of, where it is not accuracy.
OF = {
    "accuracy": "",
    "ranking": "pairs that the PRM ranks correctly",
    "f1": "F1 of first wrong steps, generated chains",
    "own_f1": "F1 of first wrong steps, the batch's own chains",
    "clean_above_lucky": "clean solutions above lucky ones",
}
# As the table words them.
READINGS: dict[Reading, str] = {
    "yes": "yes",
    "no": "no",
    "not distinguishable": "not distinguishable",
    "first higher": "first is higher",
    "second higher": "second is higher",
    "not run": "not run",
}


def render_page(results: Results, svgs: dict[str, str]) -> str:
    """HTML text. svgs: name of a figure -> SVG file's text."""
    # The second package has what this page shares with a run's report (docs/decisions.md#rooms).
    environment = page_environment("prime_core.ablations", "prime_core.report")
    environment.filters |= {"duration": duration_or_dash, "shown": shown}
    return environment.get_template("ablations.html.j2").render(
        results=results,
        ablations=results.ablations,
        colours=COLOURS,
        rows=list(_comparisons(results)),
        summary=summary(results),
        variants=list(_variants(results)),
        common=flatten(results.ablations.settings),
        figures=[
            {
                "name": name,
                "title": title,
                "caption": caption,
                "svg": Markup(inline(svgs[name], name, title)),
            }
            for name, (title, caption) in FIGURES.items()
        ],
    )


def summary(results: Results) -> str:
    """How many of the paper's findings are reproduced, in one sentence."""
    # Where the paper says nothing there is nothing to reproduce.
    readings = [row.reading for row in results.rows if row.comparison.finding != "none"]
    if not readings:
        return "The paper has no finding about any of these pairs."
    seeds = len(results.ablations.seeds)
    counts = (readings.count("yes"), readings.count("no"), readings.count("not distinguishable"))
    text = (
        f"Of {len(readings)} findings of the paper, {counts[0]} "
        f"{'is' if counts[0] == 1 else 'are'} reproduced, {counts[1]} "
        f"{'is' if counts[1] == 1 else 'are'} contradicted, {counts[2]} "
        f"{'is' if counts[2] == 1 else 'are'} not distinguishable with "
        f"{seeds} {'seed' if seeds == 1 else 'seeds'}"
    )
    missing = readings.count("not run")
    return f"{text}; {missing} not run yet." if missing else f"{text}."


def _comparisons(results: Results) -> Iterator[dict[str, Any]]:
    for row in results.rows:
        pair = row.comparison
        yield {
            "title": pair.title,
            "first": results.ablations.variants[pair.first].title,
            "second": side_title(results, pair.second),
            "of": OF[pair.measure],
            "means": [_percent(figures) for figures in row.figures[READ]],
            "differences": [points(row.differences[measure]) for measure in MEASURES],
            "finding": pair.finding,
            "paper": pair.paper,
            "reading": READINGS[row.reading],
        }


def _variants(results: Results) -> Iterator[dict[str, Any]]:
    for name, variant in results.ablations.variants.items():
        names = [run_name(name, seed) for seed in results.ablations.seeds]
        seconds = [results.seconds[run] for run in names if run in results.seconds]
        settings = flatten(variant.settings)
        if variant.labelled:
            source = variant.labelled
            # Its path differs from seed to seed, and says less.
            settings["prm.offline.file"] = (
                f"responses of {source.variant}, iterations {source.first} to {source.last}"
            )
        yield {
            "name": name,
            "title": variant.title,
            "settings": settings,
            "num_finished": len(results.measures[READ].get(name, {})),
            "seconds": sum(seconds) / len(seconds) if seconds else float("nan"),
        }


def _percent(of_seeds: dict[int, float]) -> str:
    return f"{100 * sum(of_seeds.values()) / len(of_seeds):.1f}" if of_seeds else "–"
