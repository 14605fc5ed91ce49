r"""Chains such as x = 22/7 \approx 3.14: whether their values agree, and which of them count.

A chain that names two different values names none. Across = values have to be equal; across
\approx they have to agree to half a unit of the last digit of the coarser one. What counts is the
first and the last value: the exact result, and what it was rounded to.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

from prime_core.verifiers.math import units
from prime_core.verifiers.math.evaluate import NotANumber
from prime_core.verifiers.math.rationals import Printed
from prime_core.verifiers.math.tree import Node
from prime_core.verifiers.math.values import CannotTell, constant, same_value

EQUALS = frozenset(["=", "~", "sim", "cong"])
_COLLECTIONS = frozenset(["seq", "set", "list", "matrix"])
_MAX_VALUES = 12
_MAX_DECIMALS = 40


def is_chain(node: Node) -> bool:
    r"""Whether a tree is members joined by =, \approx or their like alone."""
    return node[0] == "rel" and EQUALS.issuperset(node[2])


def agreeing(node: Node, places: list[int]) -> bool:
    """Whether the members at these places, which are values, name one value.

    Raises CannotTell where some have no value here, and the others agree.
    """
    # Pairs grow with the square; nobody writes so many steps in a box.
    if len(places) > _MAX_VALUES:
        return False
    members, joined = node[1], node[2]
    undecided: CannotTell | None = None
    # All pairs, not neighbours alone: 1 ~ 1.5 ~ 2 drifts.
    for i, j in combinations(places, 2):
        try:
            if not agree(members[i], members[j], bool(set(joined[i:j]) - {"="})):
                return False
        # A determinant has no value here, but 5 = 6 behind it is still refused.
        except (CannotTell, NotANumber) as error:
            undecided = CannotTell(str(error))
    if undecided:
        raise undecided
    return True


def agree(one: Node, other: Node, about: bool) -> bool:
    r"""Whether two values are equal or, about, as near as the coarser one's last digit says."""
    if one == other:
        return True
    if one[0] == other[0] == "qty" and units.contradict(one[2], other[2]):
        return False
    if one[0] in _COLLECTIONS or other[0] in _COLLECTIONS:
        return _alike(one, other, about)
    if about:
        first, second = constant(one), constant(other)
        if first is not None and second is not None and _finite(first) and _finite(second):
            unit = max(half_unit(one), half_unit(other))
            if unit:
                return abs(Fraction(first) - Fraction(second)) <= unit
    return same_value(_bare(one), _bare(other))


def half_unit(node: Node) -> Fraction:
    r"""Half a unit of the last digit of a decimal numeral, also times 10^k; 0 for exact forms."""
    if node[0] == "neg":
        return half_unit(node[1])
    if node[0] == "qty":
        return half_unit(node[1]) * units.multiplier(node[2])
    if node[0] == "pct":
        return half_unit(node[1]) / 100
    if node[0] == "mul" and node[2][0] == "pow" and node[2][1] == ("num", 10):
        power = constant(node[2])
        return half_unit(node[1]) * power if isinstance(power, Fraction) else Fraction(0)
    if node[0] != "num":
        return Fraction(0)
    below = node[1].denominator
    # Else the fewest decimals that write the number.
    decimals = node[1].places if isinstance(node[1], Printed) else 0
    while 10**decimals % below:
        decimals += 1
        if decimals > _MAX_DECIMALS:
            return Fraction(0)
    return Fraction(1, 2 * 10**decimals)


def _finite(value: Fraction | float) -> bool:
    return -1e300 < value < 1e300  # float() of a longer fraction overflows


def _alike(one: Node, other: Node, about: bool) -> bool:
    if one[0] != other[0] or len(one) != len(other):
        return False
    return all(
        agree(a, b, about) if isinstance(a, tuple) and isinstance(b, tuple) else a == b
        for a, b in zip(one[1:], other[1:], strict=True)
    )


def _bare(node: Node) -> Node:
    """A quantity's number, with the factor in its words."""
    if node[0] != "qty":
        return node
    factor = units.multiplier(node[2])
    return ("mul", ("num", factor), node[1]) if factor != 1 else node[1]
