"""What the runs of the ablations have written so far, and the comparisons as a table.

In: the folder of the ablations, finished or not. Out: one row for each evaluation of each run, one
for each comparison: paired differences over seeds with intervals, and their reading. A run counts
in a comparison once its last evaluation exists; until then only its curve is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import pandas as pd

from prime_core.ablations.findings import Estimate, Reading, area, paired_difference, read
from prime_core.ablations.plan import (
    BASE,
    OUTCOME_LINES,
    Ablations,
    Comparison,
    load_ablations,
    run_name,
)
from prime_core.ablations.prm_figures import PRM_COLUMNS, prm_figures
from prime_core.run.layout import RunFiles
from prime_core.run.tables import TableError, read_json
from prime_core.settings.reading import load_yaml

CURVE_COLUMNS = (
    *("variant", "seed", "iteration", "accuracy", "training_accuracy"),
    *PRM_COLUMNS,
)
# What is compared of a run -> its name in the table. The first one decides (docs/ablations.md).
MEASURES = {
    "area": "held-out accuracy, mean over evaluations",
    "last": "held-out accuracy, last iteration",
    "training": "accuracy of rollouts, mean over iterations",
}
READ = "area"


@dataclass(frozen=True)
class Row:
    """One comparison.

    figures: measure -> seed -> figure of the first and of the second; differences: measure -> first
    minus second; as shares.
    """

    name: str
    comparison: Comparison
    figures: dict[str, tuple[dict[int, float], dict[int, float]]]
    differences: dict[str, Estimate]
    readings: dict[str, Reading]

    @property
    def reading(self) -> Reading:
        """Whether the paper's finding is reproduced."""
        return self.readings[READ]


@dataclass(frozen=True)
class Results:
    """What the report shows.

    curves: CURVE_COLUMNS, in shares; planned: variant -> iterations; seconds: run -> seconds of
    the launch that finished it.
    """

    ablations: Ablations
    curves: pd.DataFrame
    planned: dict[str, int]
    seconds: dict[str, float]

    @property
    def num_runs(self) -> int:
        """Runs of all variants and seeds, not counting bases."""
        return len(self.ablations.variants) * len(self.ablations.seeds)

    @cached_property
    def measures(self) -> dict[str, dict[str, dict[int, float]]]:
        """Measure -> variant -> seed -> figure, of finished runs: of accuracies."""
        return self.measured("accuracy")

    def measured(self, column: str) -> dict[str, dict[str, dict[int, float]]]:
        """As `measures`, of one column of the curves. Only accuracies have a figure `training`."""
        found: dict[str, dict[str, dict[int, float]]] = {name: {} for name in MEASURES}
        for key, rows in self.curves.groupby(["variant", "seed"], sort=False):
            variant, seed = cast(tuple[str, int], key)
            # Its mean would be over the early iterations alone, and compared with a whole run's.
            if self.planned.get(variant) not in _curve(rows, "accuracy"):
                continue
            curve = _curve(rows, column)
            if not any(iteration > 0 for iteration in curve):
                continue
            figures = {"area": area(curve), "last": curve[max(curve)]}
            # An iteration's rollouts are of the policy before it: the first one's are the start's.
            sampled = {i - 1: x for i, x in _curve(rows, "training_accuracy").items()}
            if column == "accuracy" and any(iteration > 0 for iteration in sampled):
                figures["training"] = area(sampled)
            for name, figure in figures.items():
                found[name].setdefault(variant, {})[seed] = figure
        return found

    @property
    def num_finished(self) -> int:
        """Finished runs, not counting bases."""
        return sum(map(len, self.measures[READ].values()))

    @cached_property
    def rows(self) -> list[Row]:
        """One for each comparison, in the order of the settings."""
        return [self._row(name, pair) for name, pair in self.ablations.comparisons.items()]

    def _row(self, name: str, pair: Comparison) -> Row:
        firsts = self.measured(pair.measure)
        of_line = self.measured(OUTCOME_LINES[pair.measure]) if pair.second is None else firsts
        figures = {
            measure: (
                firsts[measure].get(pair.first, {}),
                of_line[measure].get(pair.second or pair.first, {}),
            )
            for measure in MEASURES
        }
        differences = {key: paired_difference(*both) for key, both in figures.items()}
        # Settings have points, as tables do; figures are shares.
        margin = self.ablations.margin / 100
        readings = {key: read(pair.finding, value, margin) for key, value in differences.items()}
        return Row(name, pair, figures, differences, readings)


def collect(root: Path) -> Results:
    """Results of the ablations in a folder. Raises TableError naming a file that is unreadable."""
    source = root / "ablations.yaml"
    if not source.exists():
        raise TableError(f"{source}: no such file; expected the folder of `snakemake ablations`")
    ablations = load_ablations(source)
    rows: list[dict[str, Any]] = []
    planned: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for variant in ablations.variants:
        for seed in ablations.seeds:
            files = RunFiles(root / run_name(variant, seed))
            if not files.config.exists():
                continue
            planned[variant] = int(load_yaml(files.config)["iterations"])
            key = {"variant": variant, "seed": seed}
            start = RunFiles(root / run_name(BASE, seed))
            rows += [key | row for row in curve_rows(files, start, ablations.benchmark)]
            for marker in files.root.glob("ablation-*.json"):
                seconds[files.root.name] = float(read_json(marker)["seconds"])
    return Results(ablations, pd.DataFrame(rows, columns=list(CURVE_COLUMNS)), planned, seconds)


def curve_rows(files: RunFiles, start: RunFiles, benchmark: str) -> Iterator[dict[str, float]]:
    """Accuracies of a run by iteration; those of iteration 0 are its base's."""
    last = int(load_yaml(files.config)["iterations"])
    for iteration in range(last + 1):
        row: dict[str, float] = {"iteration": iteration}
        held_out = (files if iteration else start).evaluation(iteration, benchmark)
        if held_out.exists():
            row["accuracy"] = read_json(held_out)["accuracy"]
        sampled = files.metrics(iteration, "select")
        if iteration and sampled.exists():
            row["training_accuracy"] = read_json(sampled)["rollout/accuracy"]
        row |= prm_figures(files, start, iteration)
        if len(row) > 1:
            yield row


def comparison_table(results: Results) -> pd.DataFrame:
    """One row for each comparison and measure; differences in percentage points."""
    rows = []
    for row in results.rows:
        pair = row.comparison
        for measure, difference in row.differences.items():
            first, second = row.figures[measure]
            rows.append(
                {
                    "comparison": row.name,
                    "title": pair.title,
                    "first": pair.first,
                    "second": pair.second or "the outcome alone",
                    "of": pair.measure,
                    "measure": measure,
                    "num_seeds": difference.num_seeds,
                    "first_mean": _points(_mean(first)),
                    "second_mean": _points(_mean(second)),
                    "difference": _points(difference.mean),
                    "difference_low": _points(difference.low),
                    "difference_high": _points(difference.high),
                    "finding": pair.finding,
                    "reading": row.readings[measure],
                    "paper": pair.paper,
                }
            )
    return pd.DataFrame(rows)


def _points(share: float) -> float:
    return round(100 * share, 3)


def _mean(of_seeds: dict[int, float]) -> float:
    return sum(of_seeds.values()) / len(of_seeds) if of_seeds else float("nan")


def _curve(rows: pd.DataFrame, column: str) -> dict[int, float]:
    known = rows.dropna(subset=column)
    return {int(i): float(x) for i, x in zip(known["iteration"], known[column], strict=True)}
