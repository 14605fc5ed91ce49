"""The report's page: one self-contained HTML file, without scripts.

In: a run's tables, its figures as SVG, its example responses. Out: HTML text. Everything that is
not written here is escaped: model text, settings and provenance are data.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from itertools import groupby
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from prime_core.report.drawing.plots import COLOURS, has, inline
from prime_core.report.figures import FIGURES
from prime_core.report.reproduction.comparison import compare
from prime_core.report.reproduction.page import ReproductionSection, in_words
from prime_core.report.tables.collect import ENDED_AT, RunTables
from prime_core.report.tables.cost import stage_rows, total_row
from prime_core.report.tables.data_table import data_rows, not_compared
from prime_core.report.tables.evaluations import sampled_rows
from prime_core.report.tables.missing import has_prm, has_trees, has_values
from prime_core.report.tables.steps import step_rows
from prime_core.report.templating import page_environment
from prime_core.report.tokens import Pair
from prime_core.runtime.text import duration
from prime_core.settings.reading import flatten
from prime_core.settings.run import Settings
from prime_core.settings.section import Section

NO_DEFAULT = "–"
NO_BREAK = "\N{NO-BREAK SPACE}"
NOT_A_CHOICE = ("run", "results")  # names, not settings that a reader compares


def render_page(
    run: RunTables,
    svgs: dict[str, str],
    pairs: list[Pair],
    missing: list[str],
    reproduction: ReproductionSection,
) -> str:
    """HTML text of the page. svgs: figure name -> SVG file's text."""
    environment = page_environment("prime_core.report")
    environment.filters |= FILTERS
    settings = setting_rows(run.settings)
    sections = figure_sections(run, svgs)
    # Without hours of Slurm there is no figure, but the section still says why there are none.
    if not any(section["id"] == "cost" for section in sections):
        sections.append({"title": "Cost", "id": "cost", "figures": []})
    return environment.get_template("report.html.j2").render(
        run=run,
        colours=COLOURS,
        sections=sections,
        cost=cost_tables(run),
        results=evaluation_rows(run.evaluations),
        sampled=sampled_rows(run.evaluations),
        steps=step_rows(run.steps),
        training=training_change(run.iterations),
        continued=continued_ratio(run.iterations),
        written=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        iterations=iteration_rows(run.iterations),
        elapsed_seconds=run.elapsed_seconds,
        job_seconds=float(run.stages["seconds"].sum()),
        stages=run.stages.groupby("stage", sort=False)[["num_jobs", "seconds", "startup_seconds"]]
        .sum(min_count=1)
        .reset_index()
        .to_dict("records"),
        pairs=pairs,
        missing=missing,
        data=data_rows(run.data),
        not_compared=not_compared(run.data, run.settings),
        reproduction=reproduction,
        in_words=in_words,
        describe=describe,
        changed=[row for row in settings if row["changed"]],
        settings=settings,
        provenance=last_start(run.provenance),
        earlier_starts=earlier_starts(run.provenance),
    )


def figure_sections(run: RunTables, svgs: dict[str, str]) -> list[dict[str, Any]]:
    """The figures by section, without those of parts that the run does not have."""
    shown_figures = [
        figure
        for figure in FIGURES
        if (has_prm(run) or not figure.needs_prm)
        and (has_values(run) or not figure.needs_values)
        and (has_trees(run) or not figure.needs_trees)
        and (continued_ratio(run.iterations) is not None or not figure.needs_continuations)
        and (not run.cost.table.empty or not figure.needs_slurm)
        and (run.settings.get("reproduction.of") or figure.section != "Reproduction")
        and (not figure.needs_twin or compare(run).comparisons)
        and (not figure.needs_steps or not run.steps.empty)
    ]
    return [
        {
            "title": section,
            "id": section.lower().replace(" ", "-"),
            "figures": [
                {
                    "name": figure.name,
                    "title": figure.title,
                    "caption": figure.caption,
                    # The one part that is not escaped: drawn here, its texts escaped by matplotlib.
                    "svg": Markup(inline(svgs[figure.name], figure.name, figure.title)),
                }
                for figure in figures
            ],
        }
        for section, figures in groupby(shown_figures, key=lambda figure: figure.section)
    ]


def cost_tables(run: RunTables) -> dict[str, Any]:
    """What the section on cost shows: a row per stage, sums, the budget (None: none), notes."""
    return {
        "rows": stage_rows(run.cost.table),
        "total": total_row(run.cost.table),
        "budget": run.settings.get("max_gpu_hours"),
        "notes": run.cost.notes,
    }


def evaluation_rows(evaluations: pd.DataFrame) -> list[dict[str, Any]]:
    """One row per benchmark: its first and its last evaluation."""
    rows = []
    for benchmark, table in evaluations.dropna(subset="accuracy").groupby("benchmark"):
        table = table.sort_values("iteration")
        before, after = table.iloc[0].to_dict(), table.iloc[-1].to_dict()
        rows.append(
            {
                "benchmark": benchmark,
                "before": before,
                "after": after,
                "several": len(table) > 1,
                "difference": after["accuracy"] - before["accuracy"],
            }
        )
    return rows


def training_change(iterations: pd.DataFrame) -> tuple[float, float] | None:
    """Sampled accuracy in the first and the last iteration."""
    if "rollout/accuracy" not in iterations:
        return None
    accuracies = iterations["rollout/accuracy"].dropna()
    return None if accuracies.empty else (float(accuracies.iloc[0]), float(accuracies.iloc[-1]))


def continued_ratio(iterations: pd.DataFrame) -> float | None:
    """Tokens of continuations for each one of a response, mean of the iterations; None: no such."""
    if not has(iterations, "step_values/token_ratio"):
        return None
    return float(iterations["step_values/token_ratio"].mean())


# Columns of the table of iterations: title, figure, how it is shown.
_ITERATION_COLUMNS = (
    ("Sampled", "rollout/accuracy", "percent"),
    ("Kept", "filter/kept_share", "percent"),
    ("Ranked", "prm/ranking_accuracy", "percent"),
    ("PRM loss", "prm/loss", "number"),
    ("Entropy", "actor/entropy", "number"),
    ("Update KL", "actor/ppo_kl", "number"),
    ("Clipped", "actor/clip_fraction", "percent"),
    ("Gradient", "actor/grad_norm", "number"),
    ("Tokens", "rollout/response_length_mean", "number"),
    ("Continued", "step_values/token_ratio", "number"),
)


def iteration_rows(iterations: pd.DataFrame) -> list[dict[str, str]]:
    """One row per iteration: when it ended, and the figures that the run has, as text."""
    columns = [one for one in _ITERATION_COLUMNS if has(iterations, one[1])]
    rows = []
    for row in iterations.to_dict("records"):
        ended = time.strftime("%Y-%m-%d %H:%M", time.gmtime(row[ENDED_AT]))
        cells = {"Iteration": str(int(row["iteration"])), "Ended (UTC)": ended}
        for title, figure, kind in columns:
            value = row[figure]
            number = NO_DEFAULT if pd.isna(value) else f"{value:.3g}"
            cells[title] = percent(value) if kind == "percent" else number
        rows.append(cells)
    return rows


def setting_rows(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Every setting with its value, its default, what it means, and whether the two differ."""
    defaults = flatten(Settings.model_validate({}).model_dump(mode="json"))
    return [
        {
            "key": key,
            "value": value,
            "default": defaults.get(key, NO_DEFAULT),
            "changed": value != defaults.get(key, NO_DEFAULT) and key not in NOT_A_CHOICE,
            "description": describe(key),
        }
        for key, value in settings.items()
    ]


def describe(key: str) -> str:
    """What a setting means, from the settings' model; '' for keys that it does not know."""
    section: Any = Settings
    description = ""
    for part in key.split("."):
        is_section = isinstance(section, type) and issubclass(section, Section)
        # Keys below a mapping (a benchmark's name) or an optional section have no model to ask.
        field = section.model_fields.get(part) if is_section else None
        if field is None:
            return ""
        section, description = field.annotation, field.description or ""
    return description


def last_start(provenance: dict[str, Any]) -> dict[str, Any]:
    """Where the results come from: what holds for the run, and its last start's own facts."""
    earlier = earlier_starts(provenance)
    return {
        re.sub(r"^starts\.\d+\.", "", key): value
        for key, value in provenance.items()
        if key not in earlier
    }


def earlier_starts(provenance: dict[str, Any]) -> dict[str, Any]:
    """What is known of each start of the workflow but the last: keys starts.<number>.<name>."""
    numbers = {key: int(key.split(".")[1]) for key in provenance if key.startswith("starts.")}
    return {key: provenance[key] for key, n in numbers.items() if n < max(numbers.values())}


def breakable(key: str) -> Markup:
    """A dotted key that may be wrapped after its dots and underscores."""
    return Markup(re.sub(r"([._])", r"\1<wbr>", str(escape(key))))


def percent(share: Any) -> str:
    """0.9352 -> '93.5 %'; a missing figure is a dash."""
    return NO_DEFAULT if share is None or pd.isna(share) else f"{100 * share:.1f}{NO_BREAK}%"


def duration_or_dash(seconds: float) -> str:
    """A duration; a missing one is a dash."""
    return NO_DEFAULT if pd.isna(seconds) else duration(seconds)


def hours(value: float) -> str:
    """Hours in three digits: '0.0125', '3.1', '1240'; what rounds to nothing is 0."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.001 else "0"


def points(share: float) -> str:
    """A difference of shares in points, with its sign: '+1.2'; '0.0' for what rounds to it."""
    # Before formatting, or -0.04 would become a zero with a minus sign.
    rounded = round(100 * share, 1)
    return f"{rounded:+.1f}".replace("-", "\N{MINUS SIGN}") if rounded else "0.0"


def shown(value: Any) -> str:
    """A setting or figure as text: numbers without noise, nothing for none."""
    if value is None:
        return "none"
    # As the settings file spells it. Asked before numbers: a bool is an int in Python.
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return NO_DEFAULT if pd.isna(value) else f"{value:.6g}"
    return str(value)


FILTERS: dict[str, Callable[..., Any]] = {
    "percent": percent,
    "duration": duration_or_dash,
    "hours": hours,
    "points": points,
    "shown": shown,
    "breakable": breakable,
    "unbroken": lambda text: text.replace(" %", f"{NO_BREAK}%"),
    "reward": lambda value: f"{value:+.2g}".replace("-", "\N{MINUS SIGN}"),
}
"""How values become text in the templates."""
