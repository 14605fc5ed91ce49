r"""Which steps of a written sum are right, by rule.

In: the terms that were asked for and a response. Out: its steps with their places in the text, each
right or wrong. Only chains as `arithmetic.chain` writes them have steps: ``3+4=7, 7+5=12:
\boxed{12}``. A step is right if it adds the next term to what the step before it came to, whatever
that was, and adds correctly: only the step that errs is wrong, not those that follow from it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Bounds on digits: a model may write any number, and int() refuses the longest ones.
_STEP = re.compile(r"(\d{1,18})\+(\d{1,18})=(\d{1,18})(?:, |: )")
_END = re.compile(r"\\boxed\{(\d{1,18})\}")


@dataclass(frozen=True)
class Step:
    """text[begin:end] of a response; right: whether it follows from what stands before it."""

    begin: int
    end: int
    right: bool


def read_steps(terms: Sequence[int], response: str) -> list[Step] | None:
    """Steps of a chain, the boxed answer last; None for any other response.

    A chain with more steps or fewer than it has terms to add is wrong at the first that should not
    be there, or at the box that comes too early.
    """
    steps: list[Step] = []
    place, total, rest = 0, terms[0], list(terms[1:])
    while match := _STEP.match(response, place):
        before, term, after = map(int, match.groups())
        expected = rest.pop(0) if rest else None
        right = before == total and term == expected and after == before + term
        steps.append(Step(place, match.end(), right))
        place, total = match.end(), after
    end = _END.match(response, place)
    if end is None or response[end.end() :].strip() or not steps:
        return None
    return [*steps, Step(place, end.end(), int(end[1]) == total and not rest)]


def first_wrong(steps: Sequence[Step]) -> int:
    """Index of the first wrong step, -1 where all are right: ProcessBench's label."""
    return next((number for number, step in enumerate(steps) if not step.right), -1)
