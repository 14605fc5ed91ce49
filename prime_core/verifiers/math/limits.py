"""Relations behind a value that say which numbers it is meant for: 1/x, x != 0 and x + 2 (x > 1).

A value is the same with and without them. Whether those of two answers contradict each other is
for conditions.py, which has their texts.
"""

from __future__ import annotations

from prime_core.verifiers.math.evaluate import names
from prime_core.verifiers.math.tree import Node

_LIMITING = frozenset(["!=", "<", ">", "<=", ">=", "in"])
_SIGNED = ("add", "mul", "neg")


def without_limits(items: tuple[Node, ...]) -> tuple[Node, ...]:
    """Items of a list without the limits at its end, on names of the items before them.

    x > 1, x < 3 are two inequalities, and 5, x > 0 says nothing of 5.
    """
    place = len(items)
    while place > 1 and _is_limit(items[place - 1]):
        place -= 1
    kept, limits = items[:place], items[place:]
    known = frozenset[str]().union(*map(names, kept))
    if any(map(_is_limit, kept)) or not all(_limited(limit) <= known for limit in limits):
        return items
    return kept


def without_limit(node: Node) -> Node:
    """x + 2 (x > 1), read as a sum that ends in a product, as x + 2."""
    above: list[Node] = []
    inner = node
    while inner[0] in _SIGNED or (inner[0] == "rel" and inner[2] == ("=",)):
        above.append(inner)
        inner = inner[1][-1] if inner[0] == "rel" else inner[-1]
    if not above or above[-1][0] != "mul" or inner[0] != "seq" or not _is_limit(inner):
        return node
    product = above.pop()[1:-1]
    found: Node = product[0] if len(product) == 1 else ("mul", *product)
    for outer in reversed(above):
        if outer[0] == "rel":
            found = ("rel", (*outer[1][:-1], found), outer[2])
        else:
            found = (*outer[:-1], found)
    return found if _limited(inner) <= names(found) else node


def as_cases(items: tuple[Node, ...]) -> Node | None:
    """x, x > 0, -x, x < 0 as a function by cases; None for any other list."""
    values, limits = items[::2], items[1::2]
    if len(values) != len(limits) or len(values) < 2:
        return None
    if any(value[0] == "rel" for value in values) or not all(map(_is_limit, limits)):
        return None
    return ("piecewise", *zip(values, map(_said, limits), strict=True))


def _is_limit(node: Node) -> bool:
    said = _said(node)
    return said[0] == "rel" and bool(_limited(node)) and _LIMITING.issuperset(said[2])


def _limited(node: Node) -> frozenset[str]:
    """The names of which a relation says something: x, of x in R."""
    said = _said(node)
    return names(said[1][0]) if "in" in said[2] else names(said)


def _said(node: Node) -> Node:
    """What stands in parentheses."""
    return node[2] if node[0] == "seq" and node[1] == "()" and len(node) == 3 else node
