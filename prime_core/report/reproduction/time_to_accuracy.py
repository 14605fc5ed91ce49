"""After how many iterations and hours a run reached an accuracy, and what an iteration cost.

In: a run's tables. Out: rows for the page. Hours are those of the iterations' own jobs, without
what comes before the first one and without evaluations: GPU-hours where Slurm counted some,
processor-hours where its jobs held no GPU, else the time that the jobs' processes took.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from prime_core.report.reproduction.comparison import Reproduction
from prime_core.report.reproduction.published import NUM_GPUS, Seconds
from prime_core.report.tables.collect import RunTables

SAMPLED = "training prompts, while sampling"
GROUPS = {"sampling": ("sample",), "policy": ("policy",), "prm": ("prm", "score")}
LABELS = {
    "sampling": "sampling",
    "policy": "policy update",
    "prm": "PRM: update and scoring",
    "other": "all else (verification, filter, value model)",
}
NOT_OF_ITERATIONS = ("evaluate",)
ROUNDING = 0.0005 + 1e-9  # published figures are printed to a tenth of a point


@dataclass(frozen=True)
class Hours:
    """unit: whose hours; counted: by Slurm, else by clocks of processes.

    table: iteration, stage, hours, of iterations and their own stages.
    """

    unit: str
    counted: bool
    table: pd.DataFrame

    def until(self, iteration: int) -> float:
        """Hours of the run's iterations up to this one, inclusive."""
        return float(self.table[self.table["iteration"] <= iteration]["hours"].sum())


@dataclass(frozen=True)
class Reached:
    """When a benchmark's accuracy reached a target.

    iteration: the first whose figure reached it; earliest, certain: the first whose interval's
    upper, or lower, end did. None: none has. published: the target is the published figure.
    """

    benchmark: str
    target: float
    published: bool
    iteration: int | None
    earliest: int | None
    certain: int | None
    hours: float | None


def hours_of(run: RunTables) -> Hours:
    """Hours of each iteration and stage, in the best unit that covers all finished iterations."""
    finished = set(run.iterations[run.iterations["finished"].astype(bool)]["iteration"])
    cost = run.cost.table[_is_own(run.cost.table)]
    # Hours of a part of the iterations cannot be compared with anything: then clocks count.
    if finished and finished <= set(cost["iteration"]):
        for unit, column in (("GPU-hours", "gpu_hours"), ("processor-hours", "cpu_hours")):
            if cost[column].sum() > 0:
                table = cost.rename(columns={column: "hours"})
                return Hours(unit, True, table[["iteration", "stage", "hours"]])
    stages = run.stages[_is_own(run.stages)]
    table = stages.assign(hours=stages["seconds"].astype(float) / 3600)
    return Hours("time of jobs", False, table[["iteration", "stage", "hours"]])


def _is_own(table: pd.DataFrame) -> pd.Series:
    return (table["iteration"] > 0) & ~table["stage"].isin(NOT_OF_ITERATIONS)


def reached(run: RunTables, found: Reproduction, hours: Hours) -> list[Reached]:
    """For each curve of accuracy the targets of `reproduction.accuracies`, or the usual ones."""
    chosen = run.settings.get("reproduction.accuracies") or []
    twins = {one.benchmark: one.published.mean for one in found.comparisons}
    rows = []
    for name, curve in curves(run):
        wanted = dict.fromkeys(chosen or usual_targets(curve["accuracy"]), False)
        if name in twins:
            wanted[twins[name]] = True
        rows += [_reached(name, curve, target, wanted[target], hours) for target in sorted(wanted)]
    return rows


def curves(run: RunTables) -> list[tuple[str, pd.DataFrame]]:
    """Accuracy by iteration, with its interval: of each benchmark, then of the training prompts."""
    columns = ["iteration", "accuracy", "accuracy_low", "accuracy_high"]
    known = run.evaluations.dropna(subset="accuracy").sort_values("iteration")
    found = [(str(name), table[columns]) for name, table in known.groupby("benchmark")]
    sampled = run.iterations.reindex(
        columns=["iteration", *(f"rollout/{column}" for column in columns[1:])]
    )
    sampled = sampled.set_axis(columns, axis=1).dropna(subset="accuracy")
    return [*found, *([(SAMPLED, sampled)] if len(sampled) else [])]


def usual_targets(accuracies: pd.Series) -> list[float]:
    """Every tenth above the first accuracy, up to the best one."""
    first, best = float(accuracies.iloc[0]), float(accuracies.max())
    # Divided, not multiplied: 3 * 0.1 is not 0.3, which an accuracy may be exactly.
    return [tenth / 10 for tenth in range(1, 11) if first < tenth / 10 <= best]


def _reached(
    name: str, curve: pd.DataFrame, target: float, published: bool, hours: Hours
) -> Reached:
    at, earliest, certain = (
        # A printed figure of 57.8 may have been 57.75; own targets allow for float rounding alone.
        _first(curve, column, target - (ROUNDING if published else 1e-9))
        for column in ("accuracy", "accuracy_high", "accuracy_low")
    )
    # Responses of an iteration are sampled before its update: they show the one before it.
    updates = None if at is None else at - (name == SAMPLED)
    spent = None if updates is None else hours.until(updates)
    return Reached(name, target, published, at, earliest, certain, spent)


def _first(curve: pd.DataFrame, column: str, target: float) -> int | None:
    at = curve[curve[column].astype(float) >= target]["iteration"]
    return None if at.empty else int(at.iloc[0])


def iteration_costs(run: RunTables, hours: Hours, theirs: Seconds | None) -> list[dict[str, Any]]:
    """Hours of one iteration by group of stages, beside the published ones; the last row: all.

    share: of the whole; published_hours: GPU-hours on the paper's hardware.
    """
    finished = run.iterations[run.iterations["finished"].astype(bool)]["iteration"]
    table = hours.table[hours.table["iteration"].isin(finished)]
    if table.empty:
        return []
    group_of = {stage: group for group, stages in GROUPS.items() for stage in stages}
    groups = table["stage"].map(group_of).fillna("other")
    own = table["hours"].groupby(groups).sum() / len(finished)
    published = theirs.model_dump() if theirs else {}
    rows: list[dict[str, Any]] = []
    for group, label in LABELS.items():
        seconds = published.get(group)
        rows.append(
            {
                "label": label,
                "hours": float(own.get(group, 0.0)),
                "published_hours": None if seconds is None else NUM_GPUS * seconds / 3600,
            }
        )
    rows.append(
        {
            "label": "an iteration",
            "hours": math.fsum(row["hours"] for row in rows),
            "published_hours": sum(row["published_hours"] for row in rows) if theirs else None,
        }
    )
    whole = rows[-1]
    for row in rows:
        row["share"] = row["hours"] / whole["hours"] if whole["hours"] else None
        row["published_share"] = (
            row["published_hours"] / whole["published_hours"] if theirs else None
        )
    return rows
