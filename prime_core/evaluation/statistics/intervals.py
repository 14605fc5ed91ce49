"""Accuracies over problems and their uncertainty.

In: the mean outcome of every problem, or how many of its samples are right. Out: the mean over
problems and its 95 % interval; pass@k of a problem.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

# The normal distribution's 0.975 quantile.
Z_95 = 1.959964


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Probability that at least one of k samples is right, without bias (arXiv 2107.03374, Eq. 1).

        1 - C(n - c, k) / C(n, k)

    for n samples of which c are right: the share of the subsets of k that hold a right one.

    Raises ValueError unless 1 <= k <= n and 0 <= c <= n.
    """
    if not (1 <= k <= num_samples and 0 <= num_correct <= num_samples):
        raise ValueError(f"pass@{k} of {num_samples} samples with {num_correct} right ones")
    # Exact integers: as floats, large binomials overflow.
    subsets = math.comb(num_samples, k)
    return (subsets - math.comb(num_samples - num_correct, k)) / subsets


def mean_interval(problem_means: ArrayLike) -> tuple[float, float, float]:
    """Mean accuracy over N problems and its 95 % interval; p_i is the mean of problem i's samples.

        p = mean_i p_i,  s^2 = mean_i (p_i - p)^2
        n = N p (1 - p) / s^2                           (N where s^2 = 0)
        (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Problems are independent, samples of one problem are not: so the spread between problems
    counts, as in a standard error clustered by problem (arXiv 2411.00640), not the number of
    samples. n is how many problems of one sample each would give the same standard error; Wilson's
    interval is taken at n. With one sample a problem n = N and this is Wilson's interval itself;
    where all p_i are equal (all 0, all 1) each problem counts once, and the interval still has a
    width. It never leaves [0, 1].

    Raises ValueError for no problems, or a mean outside [0, 1].
    """
    means = np.asarray(problem_means, dtype=float)
    if means.ndim != 1 or means.size == 0 or not np.all((means >= 0) & (means <= 1)):
        raise ValueError(f"expected at least one mean between 0 and 1, got {problem_means!r}")
    return _wilson(float(means.mean()), float(means.var()), means.size)


def ratio_interval(numerators: ArrayLike, denominators: ArrayLike) -> tuple[float, float, float]:
    """Share of all units that are right, and its 95 % interval, where units come in N clusters.

        p = sum_i x_i / sum_i n_i,  s^2 = mean_i ((x_i - p n_i) / mean_j n_j)^2

    x_i of the n_i units of cluster i are right: pairs of responses of one prompt. The interval is
    mean_interval's at this s, and that interval itself where all n_i are equal.

    Raises ValueError for no units, or an x_i outside [0, n_i].
    """
    right, all_units = (np.asarray(one, dtype=float) for one in (numerators, denominators))
    if right.shape != all_units.shape or not np.all((right >= 0) & (right <= all_units)):
        raise ValueError(f"expected 0 <= x_i <= n_i, got {numerators!r} of {denominators!r}")
    if not all_units.sum() > 0:
        raise ValueError("expected at least one unit, got none")
    mean = float(right.sum() / all_units.sum())
    spread = float((((right - mean * all_units) / all_units.mean()) ** 2).mean())
    return _wilson(mean, spread, right.size)


def _wilson(mean: float, spread: float, size: int) -> tuple[float, float, float]:
    """Wilson's interval at the number of independent units that `spread` is worth."""
    variance = mean * (1 - mean)
    # 1e-12: rounding leaves equal means a variance, but one far below that of means that differ.
    count = size * variance / spread if spread > 1e-12 else float(size)
    half_width = Z_95 * math.sqrt(variance / count + Z_95**2 / (4 * count**2))
    shrink = 1 + Z_95**2 / count
    centre = mean + Z_95**2 / (2 * count)
    low = (centre - half_width) / shrink
    high = (centre + half_width) / shrink
    # Of means of 0 and 1 rounding could put a bound on the wrong side of the mean.
    return mean, max(0.0, min(low, mean)), min(1.0, max(high, mean))
