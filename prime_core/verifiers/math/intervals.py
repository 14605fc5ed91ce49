r"""Sets of real numbers: intervals, their unions and differences, inequalities in one variable.

In: trees. Out: regions, sorted tuples of disjoint pieces (low, closed, high, closed) with exact
ends where they are fractions, so that two spellings of one set become one value.
"""

from __future__ import annotations

import math
from fractions import Fraction

from prime_core.verifiers.math.evaluate import names
from prime_core.verifiers.math.tree import Node
from prime_core.verifiers.math.values import constant

End = Fraction | float
Piece = tuple[End, bool, End, bool]
Region = tuple[Piece, ...]

REALS: Region = ((-math.inf, False, math.inf, False),)
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
_MAX_PIECES = 200


def is_region(node: Node) -> bool:
    """Whether a tree is a set of reals that this file reads."""
    return as_region(node) is not None


def as_region(node: Node) -> Region | None:
    """The set that a tree stands for, or None."""
    kind = node[0]
    if kind == "seq" and len(node) == 4:
        return _interval(node)
    # A finite set is closed intervals without length, so that it joins in unions.
    if kind == "set":
        ends = [_end(item) for item in node[1:]]
        if len(ends) > _MAX_PIECES or any(end is None for end in ends):
            return None
        return _merged([(end, True, end, True) for end in ends if end is not None])
    if kind == "sym" and node[1] == "mathbb_R":
        return REALS
    if kind in ("union", "inter", "minus"):
        return _combined(kind, as_region(node[1]), as_region(node[2]))
    if kind == "add" and len(node) == 3 and node[2][0] == "neg" and node[1][0] == "sym":
        return _combined("minus", as_region(node[1]), as_region(node[2][1]))  # R - {0}
    if kind == "builder":
        return as_region(node[2])
    if kind == "rel":
        return _inequality(node)
    if kind in ("list", "and", "or") and len(node) <= _MAX_PIECES:
        return _statements(node)
    return None


def _statements(node: Node) -> Region | None:
    """Inequalities of one name: all of them, any of them, or what a comma between them means."""
    inside = [names(item) for item in node[1:]]
    if any(
        item[0] not in ("rel", "and", "or") or found != inside[0] or len(found) != 1
        for item, found in zip(node[1:], inside, strict=True)
    ):
        return None
    regions = [as_region(item) for item in node[1:]]
    # 'x != 1 or x != 2' is meant to leave out both.
    if all(item[0] == "rel" and set(item[2]) == {"!="} for item in node[1:]):
        return _fold("inter", regions)
    if node[0] == "or":
        return _fold("union", regions)
    both = _fold("inter", regions)
    # x > 1, x < 3 is one interval; x < 1, x > 3 can only be two.
    return _fold("union", regions) if both == () and node[0] == "list" else both


def _fold(operation: str, regions: list[Region | None]) -> Region | None:
    total = regions[0]
    for region in regions[1:]:
        total = _combined(operation, total, region)
    return total


def _end(node: Node) -> End | None:
    """The value of an interval's end; infinities included."""
    if node[0] == "inf":
        return math.inf
    if node[0] == "neg" and node[1][0] == "inf":
        return -math.inf
    value = constant(node)
    # two spellings of one irrational end differ in the last digits of a double
    return round(value, 12) if isinstance(value, float) else value


def _interval(node: Node) -> Region | None:
    low, high = _end(node[2]), _end(node[3])
    # (3, 2) is a point, not an empty interval.
    if low is None or high is None or low > high:
        return None
    # Some write [-inf, 2]: there is no infinity to be included.
    left = node[1][0] == "[" and abs(low) != math.inf
    right = node[1][1] == "]" and abs(high) != math.inf
    return _merged([(low, left, high, right)])


def _inequality(node: Node) -> Region | None:
    """A chain such as 1 < x <= 3, with one bare name and constants around it."""
    members, relations = node[1], node[2]
    if relations == ("in",) and members[0][0] == "sym":
        return as_region(members[1])
    # e and pi are names too, but constants: names() leaves them out.
    places = [i for i, member in enumerate(members) if member[0] == "sym" and names(member)]
    if len(places) != 1 or any(r not in _FLIPPED for r in relations):
        return None
    place = places[0]
    region: Region = REALS
    for i, relation in enumerate(relations):
        if place not in (i, i + 1):
            return None
        other = members[i + 1] if place == i else members[i]
        bound = _end(other)
        if bound is None:
            return None
        half = _half(relation if place == i else _FLIPPED[relation], bound)
        region = _combined("inter", region, half) or ()
    return region


def _half(relation: str, bound: End) -> Region:
    """The reals x with x <relation> bound."""
    if relation == "=":
        return ((bound, True, bound, True),)
    if relation == "!=":
        return ((-math.inf, False, bound, False), (bound, False, math.inf, False))
    closed = len(relation) == 2 and abs(bound) != math.inf
    if relation[0] == "<":
        return ((-math.inf, False, bound, closed),)
    return ((bound, closed, math.inf, False),)


def _merged(pieces: list[Piece]) -> Region:
    """Sorted, with pieces joined where they touch and empty ones left out."""
    kept = sorted(p for p in pieces if p[0] < p[2] or (p[0] == p[2] and p[1] and p[3]))
    # Of two equal lower ends the closed one first: the joined piece takes its left side from it.
    kept.sort(key=lambda p: (p[0], not p[1]))
    result: list[Piece] = []
    for low, left, high, right in kept:
        if result:
            before = result[-1]
            if low < before[2] or (low == before[2] and (left or before[3])):
                # As tuples: at equal ends True, closed, is larger.
                if (high, right) > (before[2], before[3]):
                    result[-1] = (before[0], before[1], high, right)
                continue
        result.append((low, left, high, right))
    return tuple(result)


def _combined(operation: str, one: Region | None, other: Region | None) -> Region | None:
    if one is None or other is None or len(one) * len(other) > _MAX_PIECES**2:
        return None
    if operation == "union":
        return _merged([*one, *other])
    if operation == "minus":
        return _combined("inter", one, _complement(other))
    return _merged([_intersection(a, b) for a in one for b in other])


def _intersection(a: Piece, b: Piece) -> Piece:
    # not: at equal lower ends the open one has to win, as False does among upper ends.
    low, left = max((a[0], not a[1]), (b[0], not b[1]))
    high, right = min((a[2], a[3]), (b[2], b[3]))
    return (low, not left, high, right)


def _complement(region: Region) -> Region:
    pieces: list[Piece] = []
    low: End = -math.inf
    closed = False
    for piece in region:
        pieces.append((low, closed, piece[0], not piece[1] and piece[0] != -math.inf))
        low, closed = piece[2], not piece[3]
    pieces.append((low, closed and low != math.inf, math.inf, False))
    return _merged(pieces)
