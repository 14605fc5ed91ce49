"""One answer out of several: majority, best of n, weighted majority.

In: the answers of one problem's responses, in the order in which they were sampled; scores. Out:
the index of the response that is chosen. Ties go to what was sampled first, so that nothing depends
on the order of a table or of a set. docs/decisions.md#votes
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence


def group_answers(
    answers: Sequence[str | None], same: Callable[[str, str], bool]
) -> list[int | None]:
    """The number of each answer's group, from 0 on by first appearance; None for no answer.

    An answer joins the first group whose first answer it equals.
    """
    firsts: list[str] = []
    groups: list[int | None] = []
    for answer in answers:
        if answer is None:
            groups.append(None)
            continue
        # Equal texts spare the verifier. The result is the same: this text began a group of its own
        # because it equalled none before it.
        known = (n for n, first in enumerate(firsts) if first == answer)
        number = next(known, None)
        if number is None:
            number = next((n for n, first in enumerate(firsts) if same(answer, first)), None)
        if number is None:
            number = len(firsts)
            firsts.append(answer)
        groups.append(number)
    return groups


def majority(groups: Sequence[int | None], weights: Sequence[float] | None = None) -> int | None:
    """Index of the first response whose answer has the most votes; None where none has an answer.

        argmax_g sum_{i in g} w_i

    weights: what each vote counts; None: 1. Of tied groups the one that was sampled first wins.
    """
    votes: dict[int, list[float]] = {}
    for index, group in enumerate(groups):
        if group is not None:
            votes.setdefault(group, []).append(1.0 if weights is None else weights[index])
    if not votes:
        return None
    # An exact sum: ties stay ties, whatever the order in which weights are added.
    winner = max(votes, key=lambda group: (math.fsum(votes[group]), -group))
    return groups.index(winner)


def best_of(scores: Sequence[float]) -> int:
    """Index of the response with the highest score; the first of those that tie."""
    return max(range(len(scores)), key=lambda index: (scores[index], -index))


def vote_weight(score: float) -> float:
    """What a response's vote counts in a weighted majority: the PRM's probability that it is right.

    w = sigmoid(z), for the log-odds z of the whole response.
    """
    # sigmoid by tanh, since exp(-z) overflows where z is far below zero.
    return 0.5 * (1.0 + math.tanh(0.5 * score))
