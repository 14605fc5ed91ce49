"""A run's figures as points in time: what TensorBoard and trackers are given.

One point for each iteration whose policy has been updated, one for each evaluation. A point never
changes once it is there, so that a mirror of them is caught up by sending those that it lacks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from prime_core.report.tables.collect import ENDED_AT

_NOT_FIGURES = frozenset({"iteration", "finished", ENDED_AT})


@dataclass(frozen=True)
class Point:
    """name: "iteration/3" or "evaluation/validation/3"; time: seconds since 1970."""

    name: str
    iteration: int
    time: float
    values: dict[str, float]


def points_of(iterations: pd.DataFrame, evaluations: pd.DataFrame) -> Iterator[Point]:
    """All points of a run so far, in the order of iterations; evaluations follow.

    The tables are those of RunTables.
    """
    for row in iterations.to_dict("records"):
        if row["finished"]:
            yield _point(f"iteration/{int(row['iteration'])}", row, "")
    for row in evaluations.to_dict("records"):
        name = f"evaluation/{row['benchmark']}"
        yield _point(f"{name}/{int(row['iteration'])}", row, f"{name}/")


def _point(name: str, row: dict[Any, Any], prefix: str) -> Point:
    values = {
        f"{prefix}{key}": float(value)
        for key, value in row.items()
        # The table of evaluations has columns of text, and gaps where a benchmark lacks a figure
        # that others have.
        if key not in _NOT_FIGURES and isinstance(value, int | float) and pd.notna(value)
    }
    return Point(name, int(row["iteration"]), float(row[ENDED_AT]), values)


def tag_of(name: str) -> str:
    """A figure's name where only letters, digits and a few marks may be: pass@4 is pass_at_4."""
    return re.sub(r"[^\w./ -]", "_", name.replace("@", "_at_"))
