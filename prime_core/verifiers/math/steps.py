r"""Chains whose members do not agree: x = a = b names two answers where a and b differ.

In: an answer's tree and the gold's, or the text of an answer that has no tree. Out: whether one
of its chains contradicts itself. chains.py compares values; here, each with each, expressions in
the same variables (y = x + 1 = x + 2), and two equations in one (x = 2 \approx y = 2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations

from prime_core.verifiers.math import chains
from prime_core.verifiers.math.equal import equal
from prime_core.verifiers.math.evaluate import NotANumber, names
from prime_core.verifiers.math.parse import RELATIONS, parse
from prime_core.verifiers.math.rationals import Printed, TooLarge
from prime_core.verifiers.math.relations import is_plain_name
from prime_core.verifiers.math.tree import Node, nodes, substituted
from prime_core.verifiers.math.values import CannotTell, constant, point, same_value

_COLLECTIONS = frozenset(["seq", "set", "list", "matrix", "pm", "mp", "union", "inter"])
# They have no value, or one that is made up for comparing.
_VALUELESS = frozenset(["call", "text", "rel", "and", "or"])
_MAX_MEMBERS = 24
_NUM_POINTS = 4
_MARK = re.compile(r"\\[A-Za-z]+|\\.|[<>!=]=|.", re.DOTALL)
_SEPARATED = re.compile(r"[,;]|\b(?:and|or)\b|\\(?:quad|vee|wedge)")


def contradict(answer: Node, gold: Node | None) -> bool:
    """Whether a chain of the answer, other than one that the gold has too, names two answers."""
    # Where the gold is an equation, x + 2 = 2x may be that equation; beside a value it is a chain.
    fewest = 2 if gold is not None and not any(_chains(gold)) else 3
    return any(
        len(chain[1]) >= fewest
        and _contradicts_itself(chain)
        and not any(_same_chain(chain, other) for other in _chains(gold or ()))
        for chain in _chains(answer)
    )


def unread_contradict(text: str) -> bool:
    """The same of a normalised answer that is not read as a whole, by those members that are."""
    if _SEPARATED.search(text):
        return False
    members, relations = _split(text)
    if len(members) < 3 or not chains.EQUALS.issuperset(relations):
        return False
    trees = tuple(tree for tree in map(parse, members) if tree is not None)
    joined = "=" if set(relations) == {"="} else "~"
    return _contradicts_itself(("rel", trees, (joined,) * (len(trees) - 1)))


def _chains(node: Node) -> Iterator[Node]:
    return (part for part in nodes(node) if chains.is_chain(part))


def _same_chain(one: Node, other: Node) -> bool:
    if one[2] != other[2]:
        return False
    return all(_equal(a, b) is not False for a, b in zip(one[1], other[1], strict=True))


def _contradicts_itself(chain: Node) -> bool:
    members, joined = chain[1], chain[2]
    # Pairs grow with the square; nobody writes so many steps in a box.
    if len(members) > _MAX_MEMBERS:
        return True
    variables = [_variables(member) for member in members]
    # Without a value at its end y = \sin 2x = \sin 3x speaks of no triangle's angles.
    valued = not all(variables)
    steps = [
        i
        for i, member in enumerate(members)
        if not is_plain_name(member) or (member[0] == "fun" and not valued)
    ]
    # x = a = x = b, where a and b need not have the same variables.
    leads = members[: steps[0]] if steps else ()
    again = bool(steps) and any(members[i] in leads for i in range(steps[0], steps[-1]))
    for i, j in combinations(steps, 2):
        if again or variables[i] == variables[j]:
            about = bool(set(joined[i:j]) - {"="})
            if _agree(members[i], members[j], about) is False:
                return True
            # x = 2 and y = 2, f(x) = x and g(x) = x: another name between two equal values.
            if any(
                not variables[k] <= variables[i] and members[k] not in members[:i]
                for k in range(i + 1, j)
            ):
                return True
    # y = 2x : y = 3x is read as y = (2x : y) = 3x.
    if leads and any(members[i][0] == "ratio" and variables[0] & variables[i] for i in steps[:-1]):
        return True
    return _is_two_definitions(members, variables, steps)


def _is_two_definitions(
    members: tuple[Node, ...], variables: list[frozenset[str]], steps: list[int]
) -> bool:
    """y = 2x = z = 3w: a name behind an expression, and in front of another."""
    if not steps or steps[0] == 0:
        return False
    behind = [i for i in range(steps[0], len(members)) if i not in steps]
    return any(
        members[i] not in members[: steps[0]] and any(j > i and variables[j] for j in steps)
        for i in behind
    )


def _variables(node: Node) -> frozenset[str]:
    """Names in a tree, and functions without a definition."""
    calls = {f"{part[1]}()" for part in nodes(node) if part[0] == "call"}
    return names(node) | calls


def _agree(one: Node, other: Node, about: bool) -> bool | None:
    """Whether two members say the same; None where that is not known."""
    if one == other:
        return True
    kinds = {part[0] for node in (one, other) for part in nodes(node)}
    if not kinds.isdisjoint(_VALUELESS):
        return None
    if not kinds.isdisjoint(_COLLECTIONS):
        # x(1, 2) = (x, 2x): a multiple that is not multiplied out.
        if one[0] != other[0] and not {one[0], other[0]} <= {"seq", "matrix", "set", "list"}:
            return None
        same = _equal(one, other)
        # Decimals in a collection are compared by chains.py.
        return bool(same) if same or not about else None
    try:
        if chains.agree(one, other, about):
            return True
    except (CannotTell, NotANumber, TooLarge):
        # x/0 = 5x: of two that do not compare, one that has no value at all is no step.
        return None if _has_value(one) == _has_value(other) else False
    return about and bool(names(one)) and _near(one, other)


def _equal(one: Node, other: Node) -> bool | None:
    try:
        return equal(one, other) or equal(other, one)
    except (CannotTell, NotANumber, TooLarge):
        return None


def _has_value(node: Node) -> bool:
    try:
        # Not with itself, which would be equal as text.
        return same_value(node, ("add", node, ("num", Fraction(0))))
    except (CannotTell, NotANumber, TooLarge):
        return False


def _near(one: Node, other: Node) -> bool:
    r"""x/3 \approx 0.33x: as near as the coarsest decimal coefficient says, at a few points."""
    error = max(_relative_error(one), _relative_error(other))
    if not error:
        return False
    for attempt in range(_NUM_POINTS):
        left, right = one, other
        for name, value in point(names(one), attempt).items():
            left = substituted(left, ("sym", name), ("num", value))
            right = substituted(right, ("sym", name), ("num", value))
        first, second = constant(left), constant(right)
        if first is None or second is None:
            continue
        try:
            size = max(abs(float(first)), abs(float(second)))
            # Twice: both sides may be rounded, and a difference of terms loses digits.
            if abs(float(first) - float(second)) > 2 * error * size:
                return False
        except OverflowError:
            return False
    return True


def _relative_error(node: Node) -> float:
    """The largest half unit of a decimal's last digit, relative to the decimal; 0 without one."""
    decimals = [
        part
        for part in nodes(node)
        if part[0] == "num" and part[1] and (_places(part[1]) or part[1].denominator > 1)
    ]
    return max((float(chains.half_unit(part) / abs(part[1])) for part in decimals), default=0.0)


def _places(value: Fraction | int) -> int:
    return value.places if isinstance(value, Printed) else 0


def _split(text: str) -> tuple[list[str], list[str]]:
    """A text at its relations outside all brackets: members, and what stands between them."""
    members, relations, depth = [""], [], 0
    for match in _MARK.finditer(text):
        mark = match.group()
        if mark in RELATIONS and depth == 0:
            relations.append(RELATIONS[mark])
            members.append("")
            continue
        depth += mark in ("{", "(", "[", "\\{")
        depth -= mark in ("}", ")", "]", "\\}")
        members[-1] += mark
    return members, relations
