"""Two models on the same problems: the difference of their accuracies, and whether it is chance.

In: for each problem the mean outcome of either model. Out: the mean difference, its 95 % interval
and a p-value. Problems vary far more than models do; pairing removes their difficulty from the
comparison. docs/decisions.md#comparing-models
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from prime_core.evaluation.statistics.intervals import Z_95


@dataclass(frozen=True)
class Paired:
    """The first model against the second.

    difference: mean of the first less mean of the second; low, high: its 95 % interval.
    num_better, num_worse: problems on which the first does better, and worse.
    p_value: of no difference, two-sided; test: which one.
    """

    num_problems: int
    difference: float
    low: float
    high: float
    num_better: int
    num_worse: int
    p_value: float
    test: str


def compare_paired(first: ArrayLike, second: ArrayLike) -> Paired:
    """The difference of two accuracies on the same N problems, with d_i = a_i - b_i.

    Where every a_i and b_i is 0 or 1 (one response to a problem): McNemar's exact test and Tango's
    score interval. Else: Student's t of the d_i (N - 1 degrees of freedom), which is the difference
    with a standard error clustered by problem (arXiv 2411.00640); where all d_i are equal nothing
    is known of their spread: the sign test, and an interval as wide as if no pair differed.

    Raises ValueError for no problems, or a mean outside [0, 1].
    """
    ours, theirs = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    within = bool(np.all((ours >= 0) & (ours <= 1) & (theirs >= 0) & (theirs <= 1)))
    if ours.ndim != 1 or ours.shape != theirs.shape or ours.size == 0 or not within:
        raise ValueError("expected the means of both models, between 0 and 1, for each problem")
    differences = ours - theirs
    # 1e-12: the same mean of several samples may differ by rounding.
    better, worse = int((differences > 1e-12).sum()), int((differences < -1e-12).sum())
    binary = bool(np.all(np.isin(ours, (0, 1)) & np.isin(theirs, (0, 1))))
    if binary:
        low, high = tango_interval(better, worse, ours.size)
        p_value, test = sign_test(better, worse), "exact McNemar"
    elif differences.std() > 1e-12:
        low, high, p_value = _student(differences)
        test = "paired t"
    else:
        mean = float(differences.mean())
        _, margin = tango_interval(0, 0, ours.size)
        low, high = mean - margin, mean + margin
        p_value, test = sign_test(better, worse), "exact sign"
    return Paired(
        num_problems=ours.size,
        difference=float(differences.mean()),
        low=max(-1.0, low),
        high=min(1.0, high),
        num_better=better,
        num_worse=worse,
        p_value=p_value,
        test=test,
    )


def sign_test(better: int, worse: int) -> float:
    """Two-sided p-value of a split at least this uneven, if both sides were equally likely.

        p = min(1, 2 P(X <= min(b, c))),  X ~ Binomial(b + c, 1/2)

    On outcomes of 0 and 1 this is McNemar's exact test.
    """
    total = better + worse
    return float(stats.binomtest(min(better, worse), total, 0.5).pvalue) if total else 1.0


def tango_interval(better: int, worse: int, num_problems: int) -> tuple[float, float]:
    """95 % score interval of the difference of two paired proportions (Tango 1998).

        |b - c - N D| <= z sqrt(N (2 q(D) + D (1 - D)))

    for b problems that only the first solves and c that only the second does; q(D) is the most
    likely probability of the latter where the difference is D. Unlike the difference plus or minus
    two standard errors it never leaves [-1, 1], and has a width even where no pair differs.
    """
    estimate = (better - worse) / num_problems

    def excess(difference: float) -> float:
        score = abs(better - worse - num_problems * difference)
        return score - Z_95 * math.sqrt(_score_variance(difference, better, worse, num_problems))

    return _crossing(excess, estimate, -1.0), _crossing(excess, estimate, 1.0)


def _score_variance(difference: float, better: int, worse: int, total: int) -> float:
    """N (2 q(D) + D (1 - D)); q(D) is the larger root of 2 N q^2 + B q - c D (1 - D) = 0."""
    linear = (2 * total - better + worse) * difference - better - worse
    constant = -worse * difference * (1 - difference)
    # A double root's discriminant can be rounded below zero.
    root = math.sqrt(max(0.0, linear**2 - 8 * total * constant))
    share = (root - linear) / (4 * total)
    return max(0.0, total * (2 * share + difference * (1 - difference)))


def _crossing(excess: Callable[[float], float], inside: float, outside: float) -> float:
    """Where `excess` turns positive on the way from `inside` to `outside`, by bisection."""
    if excess(outside) <= 0:
        return outside
    # More halvings than a double has bits: the ends meet.
    for _ in range(100):
        middle = (inside + outside) / 2
        if excess(middle) <= 0:
            inside = middle
        else:
            outside = middle
    return inside


def _student(differences: np.ndarray) -> tuple[float, float, float]:
    result = stats.ttest_1samp(differences, 0.0)
    interval = result.confidence_interval(0.95)
    return float(interval.low), float(interval.high), float(result.pvalue)
