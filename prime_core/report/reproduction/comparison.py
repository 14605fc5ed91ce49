"""A run's benchmarks beside a published row: differences with intervals, and what they say.

In: a run's tables, the published figures. Out: one comparison per benchmark that both have, the
comparison of their means, and in what the two were measured differently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from prime_core.evaluation.statistics.differences import Estimate, difference, mean_of, reading
from prime_core.report.reproduction.published import MAIN_ROW, Figure, Published, Row, published
from prime_core.report.tables.collect import RunTables

COLUMNS = (
    "benchmark",
    "published_benchmark",
    "iteration",
    "num_problems",
    "published_num_problems",
    "start",
    "published_start",
    "published",
    "published_low",
    "published_high",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "difference",
    "difference_low",
    "difference_high",
    "reading",
    "notes",
)
WORDS = {"within error": "within error of", "above": "above", "below": "below"}


@dataclass(frozen=True)
class Comparison:
    """One benchmark of the run beside its published twin; shares, not percent.

    start, published_start: before RL, None where it is not known. averaged: of several samples a
    problem, where the row has another figure of one. notes: in what the two measurements differ.
    """

    benchmark: str
    twin: str
    title: str
    iteration: int
    num_problems: int
    published_num_problems: int
    own: Estimate
    published: Estimate
    start: float | None
    published_start: float | None
    averaged: bool
    notes: tuple[str, ...]

    @property
    def difference(self) -> Estimate:
        """Own figure minus published one."""
        return difference(self.own, self.published)


@dataclass(frozen=True)
class Means:
    """Mean over the benchmarks of a row that the run has, too."""

    num_benchmarks: int
    of: int
    own: Estimate
    published: Estimate

    @property
    def difference(self) -> Estimate:
        """Own mean minus published one."""
        return difference(self.own, self.published)


@dataclass(frozen=True)
class Reproduction:
    """A run beside a published row. named: reproduction.of says which, else the main run's."""

    name: str
    row: Row
    named: bool
    comparisons: list[Comparison]
    means: Means | None
    notes: tuple[str, ...]

    @property
    def summary(self) -> str:
        """What the intervals say, in a sentence or two; "" where nothing is compared."""
        if not self.comparisons:
            return ""
        found = [reading(comparison.difference) for comparison in self.comparisons]
        parts = [
            f"{found.count(word)} {text} {'it' if number else 'the published one'}"
            for number, (word, text) in enumerate(
                (word, text) for word, text in WORDS.items() if word in found
            )
        ]
        text = f"Of {len(found)} figure{'s' * (len(found) != 1)}: {', '.join(parts)}."
        return text if self.means is None else f"{text} {_mean_sentence(self.means)}"


def compare(run: RunTables) -> Reproduction:
    """The run beside the row that `reproduction.of` names, or the paper's main run."""
    known = published()
    named = run.settings.get("reproduction.of")
    name = named if named in known.rows else MAIN_ROW
    row = known.rows[name]
    notes = []
    if named and named not in known.rows:  # settings of another version
        notes.append(f"reproduction.of names '{named}', which is not a known published row.")
    comparisons = [
        comparison
        for benchmark, table in run.evaluations.dropna(subset="accuracy").groupby("benchmark")
        if (comparison := _comparison(str(benchmark), table, row, known, run.settings))
    ]
    # That of the paper's tables.
    order = list(known.benchmarks)
    comparisons.sort(key=lambda one: (order.index(one.twin), one.averaged, one.benchmark))
    means = _means(comparisons, row)
    notes += _row_notes(row, comparisons)
    return Reproduction(name, row, named == name, comparisons, means, tuple(notes))


def reproduction_table(found: Reproduction) -> pd.DataFrame:
    """One row per comparison (COLUMNS), for reproduction.csv."""
    rows = []
    for one in found.comparisons:
        apart = one.difference
        rows.append(
            (
                one.benchmark,
                one.twin,
                one.iteration,
                one.num_problems,
                one.published_num_problems,
                one.start,
                one.published_start,
                *(one.published.mean, one.published.low, one.published.high),
                *(one.own.mean, one.own.low, one.own.high),
                *(apart.mean, apart.low, apart.high),
                reading(apart),
                "; ".join(one.notes),
            )
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _comparison(
    benchmark: str, table: pd.DataFrame, row: Row, known: Published, settings: dict[str, Any]
) -> Comparison | None:
    """None where the row has no figure of this benchmark."""
    twin = known.benchmark_of(benchmark)
    table = table.sort_values("iteration")
    at = table[table["iteration"] == row.iteration]
    # At the published iteration where there is such an evaluation, else the latest; a note says so.
    chosen = (at if len(at) else table).iloc[-1]
    samples = int(_or(chosen.get("n_samples_per_prompt"), 1))
    figure = known.figure(row, twin, samples) if twin else None
    if twin is None or figure is None:
        return None
    first = table.iloc[0]
    before = known.figure(known.rows[row.start], twin, samples) if row.start else None
    return Comparison(
        benchmark=benchmark,
        twin=twin,
        title=known.benchmarks[twin].title + (f", avg@{samples}" if figure.averaged else ""),
        iteration=int(chosen["iteration"]),
        num_problems=int(_or(chosen.get("num_problems"), 0)),
        published_num_problems=known.benchmarks[twin].num_problems,
        own=Estimate(*(float(chosen[f"accuracy{end}"]) for end in ("", "_low", "_high"))),
        published=figure.estimate,
        # A branch's first evaluation is of a later iteration: not what the run began with.
        start=float(first["accuracy"]) if first["iteration"] == 0 else None,
        published_start=before.estimate.mean if before else None,
        averaged=figure.averaged,
        notes=tuple(_protocol_notes(benchmark, twin, chosen, figure, row, known, settings)),
    )


def _protocol_notes(
    benchmark: str,
    twin: str,
    chosen: pd.Series,
    figure: Figure,
    row: Row,
    known: Published,
    settings: dict[str, Any],
) -> list[str]:
    theirs = known.benchmarks[twin]
    notes = []
    if row.iteration is not None and chosen["iteration"] != row.iteration:
        notes.append(f"iteration {int(chosen['iteration'])}, published: {row.iteration}")
    pairs: list[tuple[str, Any, Any]] = [
        ("problems", chosen.get("num_problems"), theirs.num_problems)
    ]
    if figure.sampling is None:
        notes.append("how the published figure was sampled is not stated")
    else:
        pairs += [
            ("samples per problem", chosen.get("n_samples_per_prompt"), figure.sampling.samples),
            ("temperature", chosen.get("temperature"), figure.sampling.temperature),
        ]
    length = settings.get(f"evaluation.benchmarks.{benchmark}.max_response_length")
    pairs.append(("tokens at most", length, theirs.max_response_length))
    for words, ours, published_one in pairs:
        if ours is not None and published_one is not None and ours != published_one:
            notes.append(f"{ours:g} {words}, published: {published_one:g}")
    return notes


def _means(comparisons: list[Comparison], row: Row) -> Means | None:
    """Over benchmarks that both have, each once; None below two."""
    chosen: dict[str, Comparison] = {}
    for comparison in comparisons:
        # The row's mean is over its greedy figures; a benchmark measured twice counts once.
        if not comparison.averaged:
            chosen.setdefault(comparison.twin, comparison)
    if len(chosen) < 2:
        return None
    return Means(
        num_benchmarks=len(chosen),
        of=len(row.figures),
        own=mean_of([one.own for one in chosen.values()]),
        published=mean_of([one.published for one in chosen.values()]),
    )


def _row_notes(row: Row, comparisons: list[Comparison]) -> list[str]:
    own = sum(row.figures.values()) / len(row.figures)
    notes = []
    # All are printed to a tenth of a point: rounding explains no more than this.
    if comparisons and row.mean is not None and abs(own - row.mean) > 0.1:
        notes.append(
            f"The paper prints {row.mean:g} as the row's mean; the mean of its printed figures, "
            f"which is what is compared here, is {own:.1f}."
        )
    if comparisons and row.own_protocol:
        notes.append("How this row was sampled is not stated: it is not greedy pass@1.")
    return notes


def _mean_sentence(means: Means) -> str:
    apart = means.difference
    # Half of the interval, in percentage points.
    half_width = 50 * (apart.high - apart.low)
    which = "all" if means.num_benchmarks == means.of else f"{means.num_benchmarks} of {means.of}"
    words = {
        "within error": "not distinguishable from the published mean (a difference below about "
        f"{half_width:.1f} points would not show)",
        "above": "above the published mean",
        "below": "below the published mean",
    }[reading(apart)]
    return f"The mean over {which} benchmarks is {words}."


def _or(value: Any, default: float) -> float:
    return default if value is None or pd.isna(value) else value
