r"""Quantities in several units: 3 hours 30 minutes, 2 m 30 cm, 29 dollars and 50 cents.

Tree: ("compound", ("qty", number, unit), ...), the larger unit first. It equals a quantity in any
one of its own units, and a bare number in its first unit alone.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from prime_core.verifiers.math import units
from prime_core.verifiers.math.tree import Node
from prime_core.verifiers.math.values import constant

# Scales that people add up, each unit in the smallest of its scale.
_SCALES: tuple[dict[str, Fraction], ...] = tuple(
    {name: Fraction(size) for name, size in scale.items()}
    for scale in (
        {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800},
        {"month": 1, "year": 12},
        {"second": 1, "minute": 60, "degree": 3600},
        {
            "millimeter": 1, "centimeter": 10, "decimeter": 100, "meter": 1000,
            "kilometer": 1_000_000,
        },
        {"inch": 1, "foot": 12, "yard": 36, "mile": 63360},
        {"milligram": 1, "gram": 1000, "kilogram": 1_000_000},
        {"ounce": 1, "pound": 16},
        {"milliliter": 1, "liter": 1000},
        {"cup": 1, "pint": 2, "quart": 4, "gallon": 16},
        {"cent": 1, "dollar": 100},
        {"cent": 1, "euro": 100},
    )
)  # fmt: skip


def joined(parts: list[Node]) -> Node | None:
    """Quantities side by side as one; None where they do not add up to one."""
    sizes = _sizes(parts)
    if sizes is None or not all(large > small for large, small in pairwise(sizes)):
        return None
    values = [constant(part[1]) for part in parts]
    if any(value is None or value < 0 for value in values):
        return None
    # 3 hours 70 minutes is no way to say how long: two quantities, perhaps.
    for (large, small), value in zip(pairwise(sizes), values[1:], strict=True):
        if value is None or value * small >= large:
            return None
    return ("compound", *parts)


def _sizes(parts: list[Node]) -> list[Fraction] | None:
    found = [_unit(part) for part in parts]
    for scale in _SCALES:
        sizes = [scale[unit] for unit in found if unit in scale]
        if len(parts) > 1 and len(sizes) == len(parts):
            return sizes
    return None


def _unit(part: Node) -> str:
    """The one unit of a quantity; '' where there is none, or a power of it."""
    known = units.canonical(part[2]) if part[0] == "qty" else ()
    return known[0][0] if len(known) == 1 and known[0][1] == 1 else ""


def resolved(node: Node, other: Node) -> Node:
    """A compound quantity in the unit that the other side has, or else in its first."""
    if node[0] != "compound":
        return node
    parts = list(node[1:])
    sizes = _sizes(parts) or []
    place = 0
    if other[0] == "qty":
        own = [_unit(part) for part in parts]
        place = own.index(_unit(other)) if _unit(other) in own else 0
    total: Node = ("add", *(("mul", ("num", s), p[1]) for s, p in zip(sizes, parts, strict=True)))
    return ("qty", ("div", total, ("num", sizes[place])), parts[place][2])


def labelled(items: tuple[Node, ...], others: tuple[Node, ...]) -> tuple[Node, ...] | None:
    """9 chickens, 10 rabbits as pairs of word and number, where the others name the same things."""
    own, wanted = _labels(items), _labels(others)
    if own is None or wanted is None or set(own) != set(wanted):
        return None
    return tuple(
        ("seq", "()", ("text", label), item[1]) for label, item in zip(own, items, strict=True)
    )


def _labels(items: tuple[Node, ...]) -> list[str] | None:
    """What is counted in each item, plural or not; None where it is not all told apart."""
    found = []
    for item in items:
        if item[0] != "qty" or units.canonical(item[2]):
            return None
        found.append(item[2].lower().strip(" .").removesuffix("s"))
    return found if len(set(found)) == len(found) else None
