"""The comparison as Markdown: accuracies by iteration, and differences with their reading."""

from __future__ import annotations

import math
from collections.abc import Iterator

from prime_core.ablations.findings import Estimate
from prime_core.ablations.results import MEASURES, READ, Results


def curves_table(results: Results) -> Iterator[str]:
    """Held-out accuracy in percent, mean +- standard error over the seeds that have finished."""
    curves = results.curves.dropna(subset="accuracy")
    iterations = sorted(curves["iteration"].unique())
    yield f"| iteration | {' | '.join(map(str, iterations))} | mean after 0 | seeds |"
    yield "|---" * (len(iterations) + 3) + "|"
    for name, variant in results.ablations.variants.items():
        areas = results.measures[READ].get(name, {})
        own = curves[(curves["variant"] == name) & curves["seed"].isin(list(areas))]
        cells = []
        for iteration in iterations:
            shares = own.loc[own["iteration"] == iteration, "accuracy"]
            cells.append(_mean(shares.mean(), shares.std() / math.sqrt(max(len(shares), 1))))
        mean = 100 * sum(areas.values()) / len(areas) if areas else math.nan
        yield f"| {variant.title} | {' | '.join(cells)} | {mean:.1f} | {len(areas)} |"


def differences_table(results: Results) -> Iterator[str]:
    """First minus second in points with 95 % intervals; the first column of them decides."""
    names = [name for name in MEASURES if name != "training"]
    yield f"| comparison | seeds | {' | '.join(MEASURES[name] for name in names)} | reading |"
    yield "|---" * (len(names) + 3) + "|"
    for row in results.rows:
        cells = [interval(row.differences[name]) for name in names]
        seeds = row.differences[READ].num_seeds
        yield f"| {row.comparison.title} | {seeds} | {' | '.join(cells)} | {row.reading} |"


def interval(difference: Estimate) -> str:
    """A difference in points with its interval, e.g. +1.2 [-0.3, 2.7]; a dash where there is none.

    One seed has no interval.
    """
    if difference.num_seeds == 0:
        return "–"
    mean, low, high = (
        f"{100 * share:{sign}.1f}".replace("-", "−")
        for share, sign in ((difference.mean, "+"), (difference.low, ""), (difference.high, ""))
    )
    return mean if difference.num_seeds == 1 else f"{mean} [{low}, {high}]"


def _mean(mean: float, error: float) -> str:
    if math.isnan(mean):
        return "–"
    return f"{100 * mean:.1f}" if math.isnan(error) else f"{100 * mean:.1f} ± {100 * error:.1f}"
