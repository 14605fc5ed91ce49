"""Our search of the first wrong step beside the published ones, on made-up scores."""

import itertools
from collections.abc import Callable

import numpy as np
import torch

from prime_core.evaluation.statistics.first_errors import ThresholdSearch, first_below, found
from tests.support.comparison import Comparison, compare, tensors

Steps = list[list[float]]


def sigmoid(values: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-values))


def differences(values: np.ndarray) -> np.ndarray:
    """Of each value and the one before; the first less 0."""
    return np.diff(values, prepend=0)


# By the name of a search: the array that it reads, and its scores, which are ours of `prefix`,
# `prefix` and `step`. The scale of the means that two more searches read is not recorded.
SEARCHES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "implicitprm": ("cumulative", sigmoid),
    "ipvrm_sigmoid": ("cumulative", sigmoid),
    "ipvrm_rewardsum_minus_sigmoid": ("cumulative", lambda one: sigmoid(differences(one))),
}


def scores_of(name: str) -> dict[str, tuple[Steps, float, float]]:
    """By search: scores of each solution's steps, its threshold, its F1."""
    x, _ = tensors(name)
    bounds = np.concatenate([[0], x["num_steps"].numpy().cumsum()])
    return {
        search: (
            [score(x[array].numpy()[a:b]).tolist() for a, b in itertools.pairwise(bounds)],
            float(x[f"{search}_threshold"]),
            float(x[f"{search}_f1"]),
        )
        for search, (array, score) in SEARCHES.items()
    }


def processbench_f1(name: str) -> list[Comparison]:
    """F1 at each published threshold; our exact search is nowhere below it."""
    x, _ = tensors(name)
    labels = x["label"].tolist()
    comparisons = []
    for search, (scores, threshold, published) in scores_of(name).items():
        f1 = found([first_below(one, threshold) for one in scores], labels).f1
        best = float(ThresholdSearch(scores, labels).f1().max())
        pairs = {"F1": f1, "best F1": published - max(published - best, 0.0)}
        comparisons += [
            compare(f"{what}, {search}", torch.tensor(value, dtype=torch.double), x[f"{search}_f1"])
            for what, value in pairs.items()
        ]
    return comparisons
