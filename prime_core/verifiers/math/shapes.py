r"""Trees in the shapes that equal.py compares: plus-minus written out, loose forms made regular."""

from __future__ import annotations

from typing import Any

from prime_core.verifiers.math.limits import as_cases, without_limit, without_limits
from prime_core.verifiers.math.naming import as_tuple, as_tuples
from prime_core.verifiers.math.relations import is_name
from prime_core.verifiers.math.tree import Node

_MAX_SIGNS = 4  # two readings each; more signs are read as all plus or all minus


def rewrite(node: Node) -> Node:
    """A tree with sets of reals under one name, and 'x in S' as S."""
    named = as_tuple(node)
    if named is not None:
        return named
    if node[0] == "rel" and node[2] == ("in",) and _reads_as_name(node[1][0]):
        return rewrite(node[1][1])
    if node[0] == "rel" and node[2] == ("=",) and node[1][0][0] == node[1][1][0] == "seq":
        return node[1][1]  # (AB, CD) = (1, 2)
    if node[0] == "qty" and node[1][0] in ("seq", "set", "list", "text"):
        return node[1]
    if node[0] in ("list", "and"):
        # A general solution is written with or without its 'k in Z'.
        items = tuple(item for item in node[1:] if not _is_condition(item)) or node[1:]
        if node[0] == "and" and len(items) > 1:
            return ("and", *items)
        if (cases := as_cases(items)) is not None:
            return cases
        items = without_limits(items)
        return ("list", *map(rewrite, as_tuples(items))) if len(items) > 1 else rewrite(items[0])
    if node[0] == "seq" and node[1] == "()" and len(node) == 3 and node[2][0] == "rel":
        return rewrite(node[2])
    return without_limit(node)


def _is_condition(node: Node) -> bool:
    """k in Z, which says what k is in the items before it."""
    if node[0] == "seq" and len(node) == 3:
        node = node[2]
    if node[0] != "rel" or node[2] != ("in",) or node[1][0][0] != "sym":
        return False
    return node[1][1] in (("sym", "mathbb_Z"), ("sym", "mathbb_N"))


def _reads_as_name(node: Node) -> bool:
    if node[0] == "list":
        return all(map(is_name, node[1:]))
    return node[0] in ("sym", "call", "mul", "seq", "text") and is_name(node)


def expand(node: Node) -> Node:
    r"""1 \pm 2 as the list 1+2, 1-2, inside lists, sets and right sides of equations too."""
    if not _has_signs(node):
        return node
    if node[0] in ("list", "set"):
        items: list[Node] = []
        for item in node[1:]:
            expanded = expand(item)
            items.extend(expanded[1:] if expanded[0] == "list" else (expanded,))
        return (node[0], *items)
    return _alternatives(node)


def _alternatives(node: Node) -> Node:
    """All readings of the signs in one expression: linked where minus-plus occurs as well."""
    count = _count(node, "pm")
    if count == 0:
        return _alternatives(_as_plus_minus(node))
    # By convention \mp takes the sign opposite to \pm; without it each \pm is free.
    linked = _count(node, "mp") > 0 or count > _MAX_SIGNS
    choices = [(1,) * count, (-1,) * count] if linked else _signs(count)
    found: list[Node] = []
    for choice in choices:
        remaining = list(choice)
        tree = _with_signs(node, remaining, choice[0] if choice else 1)
        # \pm 0 has one reading.
        if tree not in found:
            found.append(tree)
    return found[0] if len(found) == 1 else ("list", *found)


def _as_plus_minus(node: Any) -> Any:
    r"""By itself \mp is \pm: a + or - that no other sign goes with."""
    if not isinstance(node, tuple) or not node:
        return node
    head = "pm" if node[0] == "mp" else _as_plus_minus(node[0])
    return (head, *map(_as_plus_minus, node[1:]))


def _signs(count: int) -> list[tuple[int, ...]]:
    rows: list[tuple[int, ...]] = [()]
    for _ in range(count):
        rows = [(*row, sign) for row in rows for sign in (1, -1)]
    return rows


def _with_signs(node: Any, remaining: list[int], first: int) -> Any:
    if not isinstance(node, tuple) or not node:
        return node
    if node[0] == "pm":
        sign = remaining.pop(0) if remaining else first
        inner = _with_signs(node[1], remaining, first)
        return inner if sign > 0 else ("neg", inner)
    if node[0] == "mp":
        inner = _with_signs(node[1], remaining, first)
        return ("neg", inner) if first > 0 else inner
    return tuple(_with_signs(child, remaining, first) for child in node)


def _count(node: Any, name: str) -> int:
    if not isinstance(node, tuple) or not node:
        return 0
    return int(node[0] == name) + sum(_count(child, name) for child in node)


def _has_signs(node: Node) -> bool:
    # Not _count(), which recurses: every comparison asks.
    stack: list[Any] = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            if item and (item[0] == "pm" or item[0] == "mp"):
                return True
            stack.extend(item)
    return False
