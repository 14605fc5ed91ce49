"""Where the responses of a tree fork.

In: the leaves of one tree so far, their tokens' texts. Out: places, each a leaf and the index of
the first token that a continuation samples anew.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prime_core.run.seeds import generator
from prime_core.steps import step_ends

# What stands behind these words repeats what was found out before them (TreeRL).
ANSWER = re.compile("answer|conclusion", re.IGNORECASE)


@dataclass(frozen=True)
class Leaf:
    """A response that may be forked from.

    sample: its number. fork: index of its first own token. pieces: the text of each of its tokens,
    logprobs: their log-probabilities, from the response's beginning on.
    """

    sample: int
    fork: int
    pieces: Sequence[str]
    logprobs: Sequence[float]


@dataclass(frozen=True)
class Place:
    """A leaf, by its number, and the index of its token that is sampled anew."""

    sample: int
    index: int


def least_likely(leaves: Sequence[Leaf], number: int, _seed: Sequence[int | str]) -> list[Place]:
    """The candidates with the largest -log p of the token that was sampled (EPTree).

    Of equals the earlier response comes first, then the earlier token. A leaf's candidates are its
    own tokens but the first, up to the one that completes the word answer or conclusion.
    """
    found = [
        (leaf.logprobs[index], leaf.sample, index)
        for leaf in leaves
        for index in range(leaf.fork + 1, _behind_answer(leaf))
    ]
    return [Place(sample, index) for _, sample, index in sorted(found)[:number]]


def at_steps(leaves: Sequence[Leaf], number: int, seed: Sequence[int | str]) -> list[Place]:
    """Ends of steps, drawn without replacement: the step behind each is sampled anew (Tree-GRPO).

    seed: the run's seed, and names of this draw. Steps are those of prime_core.steps.
    """
    found = [
        Place(leaf.sample, index + 1)
        for leaf in leaves
        for index, ends in enumerate(step_ends(leaf.pieces)[:-1])
        if ends and index + 1 > leaf.fork
    ]
    first, *names = seed
    drawn = generator(int(first), *names).permutation(len(found))[:number]
    return [found[index] for index in drawn.tolist()]


# By the setting rollout.tree.kind.
KINDS: dict[str, Callable[[Sequence[Leaf], int, Sequence[int | str]], list[Place]]] = {
    "eptree": least_likely,
    "random": at_steps,
}


def _behind_answer(leaf: Leaf) -> int:
    """Index behind the last candidate."""
    own = leaf.pieces[leaf.fork :]
    match = ANSWER.search("".join(own))
    if match is None:
        return len(leaf.pieces)
    return leaf.fork + bisect_right(list(accumulate(map(len, own))), match.end() - 1) + 1
