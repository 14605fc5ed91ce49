r"""Functions by cases: a tree ("piecewise", (value, condition), ...), read and evaluated.

The lines of \begin{cases} are a function where each has a value and a condition; else they are
answers or steps, and stay a list.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

from prime_core.verifiers.math.rationals import Inexact, Undefined
from prime_core.verifiers.math.tree import Node

_LEADS = frozenset(["for", "if", "when", "where", "as"])
_OTHERWISE = frozenset(["otherwise", "else", "elsewhere"])
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
    "=": operator.eq, "!=": operator.ne,
}  # fmt: skip


def by_cases(rows: list[tuple[Node, ...]]) -> Node | None:
    """The function that the rows of an environment define; None where they define none."""
    branches: list[tuple[Node, Node]] = []
    for row in rows:
        items = [item for item in row if item[0] != "text" or item[1].lower() not in _LEADS]
        if len(items) != 2 or items[0][0] == "rel" or not _is_condition(items[1]):
            return None
        branches.append((items[0], items[1]))
    return ("piecewise", *branches) if branches else None


def _is_condition(node: Node) -> bool:
    if node[0] in ("list", "and", "or"):
        return all(_is_condition(item) for item in node[1:])
    return node[0] in ("rel", "text", "qty")


def value(node: Node, evaluate: Callable[[Node], Any], unknown: type[Exception]) -> Any:
    """The value of the first branch whose condition holds. Raises Undefined without one.

    unknown: what to raise for a condition in words.
    """
    for branch, condition in node[1:]:
        if _holds(condition, evaluate, unknown):
            return evaluate(branch)
    raise Undefined("no branch")


def _holds(condition: Node, evaluate: Callable[[Node], Any], unknown: type[Exception]) -> bool:
    if condition[0] == "text" and condition[1].lower() in _OTHERWISE:
        return True
    if condition[0] in ("list", "and"):
        return all(_holds(item, evaluate, unknown) for item in condition[1:])
    if condition[0] == "or":
        return any(_holds(item, evaluate, unknown) for item in condition[1:])
    if condition[0] != "rel" or not _COMPARE.keys() >= set(condition[2]):
        raise unknown("a condition in words")
    sides = [_real(evaluate(side)) for side in condition[1]]
    pairs = zip(condition[2], pairwise(sides), strict=True)
    return all(_COMPARE[relation](one, other) for relation, (one, other) in pairs)


def _real(number: Any) -> Any:
    if isinstance(number, Fraction):
        return number
    if number.imag != 0:
        raise Inexact("complex numbers have no order")
    return number.real


def same_branches(one: Node, other: Node, same: Callable[[Node, Node], bool]) -> bool:
    """Whether two functions have the same values under the same conditions, in any order."""
    if len(one) != len(other):
        return False
    return all(any(_words(c) == _words(d) and same(a, b) for b, d in other[1:]) for a, c in one[1:])


def _words(condition: Any) -> Any:
    """A condition without the words that say nothing: 'n is even' and 'n even' are one."""
    if isinstance(condition, str):
        return " ".join(w for w in condition.lower().split() if w not in ("is", "are", "if"))
    if isinstance(condition, tuple):
        return tuple(_words(part) for part in condition)
    return condition
