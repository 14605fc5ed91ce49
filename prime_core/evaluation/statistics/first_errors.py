"""Finding the first wrong step of a solution: predictions, F1, the best threshold, AUC.

In: for each solution the scores of its steps (higher: more likely right) and its label, the index
of its first wrong step, -1 where it has none. Out: numbers. The measure is ProcessBench's
(arXiv 2412.06559).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

NO_ERROR = -1
REPLICATES = 1000


def first_below(scores: Sequence[float], threshold: float) -> int:
    """Index of the first step whose score is below the threshold; -1 where none is."""
    below = np.flatnonzero(np.asarray(scores, dtype=float) < threshold)
    return int(below[0]) if below.size else NO_ERROR


@dataclass(frozen=True)
class Found:
    """How well predictions hit labels.

        F1 = 2 a_e a_c / (a_e + a_c),  0 where both are 0

    acc_error, acc_correct (a_e, a_c): share of exactly right predictions among solutions with an
    error, and among those without one; 0 where there are none.
    """

    f1: float
    acc_error: float
    acc_correct: float


def found(predicted: ArrayLike, labels: ArrayLike) -> Found:
    """F1 and its parts. predicted, labels: [N] indices of steps, -1: no error."""
    theirs = np.asarray(labels)
    hit, wrong = np.asarray(predicted) == theirs, theirs != NO_ERROR
    error, correct = (float(hit[rows].sum() / max(1, int(rows.sum()))) for rows in (wrong, ~wrong))
    return Found(float(f1_of(error, correct)), error, correct)


def f1_of(error: ArrayLike, correct: ArrayLike) -> np.ndarray:
    """Harmonic mean of the two shares, element by element; 0 where both are 0."""
    e, c = np.asarray(error, dtype=float), np.asarray(correct, dtype=float)
    total = e + c
    return np.where(total > 0, 2 * e * c / np.where(total > 0, total, 1.0), 0.0)


class ThresholdSearch:
    """The threshold of the highest F1 on some solutions, over all real numbers.

    A solution's prediction changes only where the threshold passes a new minimum of its scores: it
    is step k for m_k < tau <= m_{k-1}, m_k = min of scores 0..k. So F1 is constant between
    neighbouring such minima, and one value from each gap is all that there is to try.
    """

    def __init__(self, scores: Sequence[Sequence[float]], labels: Sequence[int]) -> None:
        """Raises ValueError for no solutions, or one without a finite score for every step."""
        self._wrong = np.asarray(labels) != NO_ERROR
        # Right for low < tau <= high.
        bounds = [_bounds(one, label) for one, label in zip(scores, labels, strict=True)]
        if not bounds:
            raise ValueError("expected at least one solution to choose a threshold by")
        low, high = np.asarray(bounds).T
        ends = np.concatenate([low, high])
        self._edges = np.unique(ends[np.isfinite(ends)])
        # Column j of what follows: tau just above edge j - 1, column 0: below all.
        self._from = np.where(np.isneginf(low), 0, np.searchsorted(self._edges, low) + 1)
        last = self._edges.size + 1
        self._until = np.where(np.isposinf(high), last, np.searchsorted(self._edges, high) + 1)

    def thresholds(self) -> np.ndarray:
        """One threshold of each gap, ascending."""
        above_all = np.nextafter(self._edges[-1], np.inf)
        return np.append(self._edges, above_all)

    def f1(self, weights: ArrayLike | None = None) -> np.ndarray:
        """F1 at each of `thresholds`; weights: [N] how often each solution counts."""
        w = np.ones(self._wrong.size) if weights is None else np.asarray(weights, dtype=float)
        shares = []
        for rows in (self._wrong, ~self._wrong):
            size = self._edges.size + 2
            gained = np.bincount(self._from[rows], w[rows], size)
            lost = np.bincount(self._until[rows], w[rows], size)
            hits = np.cumsum(gained - lost)[:-1]
            shares.append(hits / max(float(w[rows].sum()), 1.0))
        return f1_of(*shares)

    def best(self) -> float:
        """The lowest threshold of the highest F1."""
        return float(self.thresholds()[int(np.argmax(self.f1()))])


def _bounds(scores: Sequence[float], label: int) -> tuple[float, float]:
    """Between which thresholds (above the first, up to the second) the prediction is right."""
    values = np.asarray(scores, dtype=float)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"expected a finite score for each step, got {scores!r}")
    lowest = np.minimum.accumulate(values)
    if label == NO_ERROR:
        return -np.inf, float(lowest[-1])
    return float(lowest[label]), float(lowest[label - 1]) if label else np.inf


def step_auc(scores: Sequence[Sequence[float]], labels: Sequence[int]) -> float | None:
    """Chance that a step before any error scores higher than a first wrong step; ties count half.

    Steps behind the first error are neither. None where there are no steps of either kind.
    """
    right: list[float] = []
    wrong: list[float] = []
    for one, label in zip(scores, labels, strict=True):
        right += list(one if label == NO_ERROR else one[:label])
        wrong += [] if label == NO_ERROR else [one[label]]
    return _chance_above(right, wrong)


def largest_fall(scores: Sequence[float]) -> int:
    """Index of the lowest step, the first of equal ones."""
    return int(np.argmin(scores))


def falls_found(scores: Sequence[Sequence[float]], labels: Sequence[int]) -> float | None:
    """Share of solutions with an error whose lowest step is the first wrong one; None without any.

    Needs no threshold: it says where a PRM points, not whether.
    """
    wrong = [(one, label) for one, label in zip(scores, labels, strict=True) if label != NO_ERROR]
    hits = [largest_fall(one) == label for one, label in wrong]
    return float(np.mean(hits)) if hits else None


def clean_above_lucky(
    scores: Sequence[Sequence[float]], labels: Sequence[int], answer_correct: Sequence[bool | None]
) -> float | None:
    """Chance that the lowest step of a clean solution is above that of a lucky one; ties half.

    Clean: right in every step and in its answer; lucky: right in its answer, not in every step. An
    outcome is the same for both. None where there are none of either kind.
    """
    clean, lucky = (
        [
            min(one)
            for one, label, right in zip(scores, labels, answer_correct, strict=True)
            if right and (label == NO_ERROR) == is_clean
        ]
        for is_clean in (True, False)
    )
    return _chance_above(clean, lucky)


def _chance_above(high: Sequence[float], low: Sequence[float]) -> float | None:
    """Mann-Whitney's U over all pairs: the chance that one of `high` is above one of `low`."""
    if not high or not low:
        return None
    ranks = rankdata([*high, *low])[: len(high)]
    return float((ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(high) * len(low)))


def fixed_place(
    num_steps: ArrayLike, answer_correct: Sequence[bool | None], labels: ArrayLike
) -> tuple[Found, float]:
    """The best that the outcome alone can do, and the relative place that does it.

        predicted = floor(f (n - 1)) where the final answer is wrong, else -1

    with the f in [0, 1] of the highest F1 on these very solutions, searched exactly. A scorer that
    does not pass it knows no more of steps than that a wrong answer has an error somewhere.
    """
    last = np.asarray(num_steps) - 1
    known = np.asarray(answer_correct, dtype=bool)
    # Where floor(f m) changes, for any m that occurs; the small number keeps j / m * m at j.
    places = {j / m for m in {int(m) for m in last if m} for j in range(m + 1)} | {0.0}
    best, place = max(
        (
            (found(np.where(known, NO_ERROR, np.floor(f * last + 1e-9)), labels), f)
            for f in sorted(places)
        ),
        key=lambda pair: pair[0].f1,
    )
    return best, place


def resampled(num_rows: int, seed: int) -> np.ndarray:
    """How often each row counts in each of the bootstrap's samples, [REPLICATES, num_rows]."""
    equal = np.full(num_rows, 1 / num_rows)
    return np.random.default_rng(seed).multinomial(num_rows, equal, REPLICATES)


def f1_samples(predicted: ArrayLike, labels: ArrayLike, counts: np.ndarray) -> np.ndarray:
    """F1 of each sample of `counts` with the predictions as they are."""
    theirs = np.asarray(labels)
    hit, wrong = (np.asarray(predicted) == theirs).astype(float), theirs != NO_ERROR
    shares = [
        counts[:, rows] @ hit[rows] / np.maximum(counts[:, rows].sum(1), 1)
        for rows in (wrong, ~wrong)
    ]
    return f1_of(*shares)


def percentile_interval(samples: ArrayLike) -> tuple[float, float]:
    """95 % interval of a bootstrap's samples, by their percentiles."""
    low, high = np.percentile(np.asarray(samples, dtype=float), (2.5, 97.5))
    return float(low), float(high)
