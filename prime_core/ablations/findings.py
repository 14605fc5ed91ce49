"""What a few seeds say about a difference: paired, with an interval, read by a stated rule.

In: a figure of two variants for each seed. Out: the mean difference, its 95 % interval, and
whether a published finding is reproduced. Runs of one seed share data, warmed-up model and random
numbers, so the difference is taken seed by seed: what a seed does to both runs cancels
(docs/decisions.md#mean-over-evaluations).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

# What the paper finds: the first is better; there is no clear difference; it does not say.
Finding = Literal["first", "close", "none"]
Reading = Literal["yes", "no", "not distinguishable", "first higher", "second higher", "not run"]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval; NaN where there are too few seeds for it."""

    num_seeds: int
    mean: float
    low: float
    high: float


def mean_over_seeds(values: Sequence[float]) -> Estimate:
    """Mean and its 95 % interval from Student's t, with n - 1 degrees of freedom.

        m +- t_{0.975, n-1} s / sqrt(n),   s^2 = sum_i (x_i - m)^2 / (n - 1)

    With three seeds t is 4.30: an interval more than twice as wide as two standard errors.
    """
    from scipy import stats  # takes longer to import than all else here, and few callers need it

    x = np.asarray(values, dtype=float)
    if x.size == 0:
        return Estimate(0, math.nan, math.nan, math.nan)
    mean = float(x.mean())
    if x.size == 1:
        return Estimate(1, mean, math.nan, math.nan)
    # Not a bootstrap: of three seeds it has 27 resamples and is too narrow
    # (docs/decisions.md#mean-over-evaluations).
    half = float(stats.t.ppf(0.975, x.size - 1) * x.std(ddof=1) / math.sqrt(x.size))
    return Estimate(int(x.size), mean, mean - half, mean + half)


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Estimate:
    """First minus second, over the seeds that both have. first, second: seed -> figure."""
    seeds = sorted(first.keys() & second.keys())
    return mean_over_seeds([first[seed] - second[seed] for seed in seeds])


def read(finding: Finding, difference: Estimate, margin: float) -> Reading:
    """Whether seeds reproduce a finding, from the interval [low, high] of first minus second.

    finding 'first' (the first is better):
        yes where low > 0; no where high < 0; else not distinguishable.
    finding 'close' (no clear difference):
        yes where -margin < low and high < margin; no where low > margin or high < -margin, that
        is where the difference is larger than the margin; else not distinguishable.
    finding 'none' (nothing was published):
        first higher where low > 0; second higher where high < 0; else not distinguishable.

    One seed has no interval and distinguishes nothing.
    """
    if difference.num_seeds == 0:
        return "not run"
    # Comparisons with its NaN would all be false, but that should not be what decides.
    if difference.num_seeds == 1:
        return "not distinguishable"
    low, high = difference.low, difference.high
    if finding == "close":
        if -margin < low and high < margin:
            return "yes"
        # Not where zero is outside: with many seeds a difference may be certain and still too small
        # to matter (docs/ablations.md).
        return "no" if low > margin or high < -margin else "not distinguishable"
    words: tuple[Reading, Reading] = (
        ("yes", "no") if finding == "first" else ("first higher", "second higher")
    )
    return words[0] if low > 0 else words[1] if high < 0 else "not distinguishable"


def area(curve: Mapping[int, float]) -> float:
    """Area under a curve, as a mean: of a run's figures at all iterations but 0.

        a = mean_{i > 0} c_i

    How good the policy was along the way, with less noise than in its last figure alone. At
    iteration 0 all runs of a seed are the same model.
    """
    values = [value for iteration, value in curve.items() if iteration > 0]
    if not values:
        raise ValueError(f"no figures after iteration 0 in {dict(curve)!r}")
    return float(np.mean(values))
