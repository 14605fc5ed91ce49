"""Differences of accuracies that were measured separately, and their uncertainty.

In: accuracies with 95 % intervals. Out: their difference or their mean, with its interval.
docs/decisions.md#published-intervals
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval; low = mean = high where it is taken as exact."""

    mean: float
    low: float
    high: float


def difference(first: Estimate, second: Estimate) -> Estimate:
    """first - second, of two independent figures.

        d - sqrt((p1 - l1)^2 + (u2 - p2)^2)  to  d + sqrt((u1 - p1)^2 + (p2 - l2)^2)

    Newcombe's interval (method 10 of doi 10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>
    3.0.CO;2-I) when both intervals are Wilson's. Figures on the same problems are not independent:
    they rise and fall together, so the interval is then wider than necessary.
    """
    middle = first.mean - second.mean
    return Estimate(
        middle,
        middle - math.hypot(first.mean - first.low, second.high - second.mean),
        middle + math.hypot(first.high - first.mean, second.mean - second.low),
    )


def mean_of(figures: Sequence[Estimate]) -> Estimate:
    """Mean of independent figures, equally weighted.

        m - sqrt(sum_i (p_i - l_i)^2) / n  to  m + sqrt(sum_i (u_i - p_i)^2) / n

    Raises ValueError when there is none.
    """
    if not figures:
        raise ValueError("expected at least one figure to take the mean of, got none")
    middle = math.fsum(figure.mean for figure in figures) / len(figures)
    below = math.hypot(*(figure.mean - figure.low for figure in figures)) / len(figures)
    above = math.hypot(*(figure.high - figure.mean for figure in figures)) / len(figures)
    return Estimate(middle, middle - below, middle + above)


def reading(found: Estimate) -> str:
    """Where a difference lies relative to zero: "above", "below", "within error"."""
    if found.low > 0:
        return "above"
    return "below" if found.high < 0 else "within error"
