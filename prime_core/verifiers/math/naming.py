"""Names of a tuple's members: (y, x) = (1, 2) and y = 1, x = 2 are the point (2, 1).

With the same names on both sides values are matched by name. With names on one side alone, those
that have an order (x, y, z; a, b; m, n; x_1, x_2) are put into it; others keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from prime_core.verifiers.math.tree import Node

_GREEK = ("\\alpha", "\\beta", "\\gamma", "\\delta")
_MAX_NAMES = 20


def assignments(items: tuple[Node, ...]) -> dict[str, Node] | None:
    """Values by name where each item is such as a = 1, with different names; else None."""
    found: dict[str, Node] = {}
    for item in items:
        if item[0] != "rel" or item[2] != ("=",) or item[1][0][0] != "sym":
            return None
        found[item[1][0][1]] = item[1][1]
    # x = 1, x = 2 are two solutions, not an assignment.
    return found if len(found) == len(items) else None


def in_order(items: tuple[Node, ...]) -> tuple[Node, ...] | None:
    """The values of assignments in the order of their names; None for anything else."""
    found = assignments(items)
    return None if found is None else _ordered(tuple(found), tuple(found.values()))


def by_name(one: Node, other: Node, same: Callable[[Node, Node], bool]) -> bool | None:
    """Whether the same names have the same values; None where a side has no names."""
    # Two lists of assignments are compared in equal.py, after plus-minus is written out.
    if one[0] != "rel" and other[0] != "rel":
        return None
    first, second = _named(one), _named(other)
    if first is None or second is None:
        return None
    return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)


def as_tuple(node: Node) -> Node | None:
    """(y, x) = (1, 2) and (y = 1, x = 2) as (2, 1), and sets of such points; None for others."""
    if node[0] == "seq":
        values = in_order(node[2:])
        return None if values is None else (*node[:2], *values)
    names = _names(node)
    if names is None:
        return None
    return _placed(names, node[1][1])


def as_tuples(items: tuple[Node, ...]) -> tuple[Node, ...]:
    """Items of a list, where the names of the first tuple hold for those behind it."""
    names = _names(items[0]) if items else None
    if names is None:
        return items
    return (_placed(names, items[0][1][1]), *(_placed(names, item) for item in items[1:]))


def _names(node: Node) -> tuple[str, ...] | None:
    """The names on the left of (x, y) = ..., or of (x, y) in ..."""
    if node[0] != "rel" or node[2] not in (("=",), ("in",)):
        return None
    left, right = node[1]
    if left[0] != "seq" or any(item[0] != "sym" for item in left[2:]):
        return None
    points = right[1:] if right[0] in ("set", "list") else (right,)
    fits = all(point[0] == "seq" and len(point) == len(left) for point in points)
    return tuple(item[1] for item in left[2:]) if fits and points else None


def _placed(names: tuple[str, ...], node: Node) -> Node:
    if node[0] in ("set", "list"):
        return (node[0], *(_placed(names, item) for item in node[1:]))
    if node[0] != "seq" or len(node) != len(names) + 2:
        return node
    return (*node[:2], *_ordered(names, node[2:]))


def _named(node: Node) -> dict[str, Node] | None:
    names = _names(node)
    if names is not None:
        point = node[1][1]
        return dict(zip(names, point[2:], strict=True)) if point[0] == "seq" else None
    if node[0] in ("list", "and"):
        return assignments(node[1:])
    return assignments(node[2:]) if node[0] == "seq" else None


def _ordered(names: tuple[str, ...], values: tuple[Node, ...]) -> tuple[Node, ...]:
    places = sorted(range(len(names)), key=lambda i: _key(names[i]))
    if len(names) > _MAX_NAMES or not _is_family([names[i] for i in places]):
        return values
    return tuple(values[i] for i in places)


def _key(name: str) -> tuple[str, int]:
    base, _, index = name.partition("_")
    return base, int(index) if index.isdigit() and len(index) < 6 else -1


def _is_family(names: list[str]) -> bool:
    """Whether sorted names follow each other: x, y, z or x_1, x_2; not l, w."""
    if len(set(names)) < len(names):
        return False
    bases = [_key(name)[0] for name in names]
    if len(set(bases)) == 1:
        return all(_key(name)[1] >= 0 for name in names)
    if any("_" in name for name in names):
        return False
    if all(base in _GREEK for base in bases):
        return True
    if any(len(base) != 1 for base in bases):
        return False
    return all(ord(b) - ord(a) == 1 for a, b in pairwise(bases))
