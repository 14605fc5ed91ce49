r"""Residue classes: x \equiv 3 \pmod 7, and two classes as x \equiv 1, 4 \pmod 5.

Tree: ("residue", modulus, what is congruent or ("list",), classes...). Two are equal where they
hold the same whole numbers; a bare number stands for a class only as its least residue, or as the
gold itself writes it, so that no answer is right for two golds.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import lcm

from prime_core.verifiers.math.evaluate import names
from prime_core.verifiers.math.shapes import expand
from prime_core.verifiers.math.tokens import ParseError
from prime_core.verifiers.math.tree import Node, Reader
from prime_core.verifiers.math.values import constant

_NOTHING: Node = ("list",)
_MAX_CLASSES = 40
_MAX_MODULUS = 20_000
_RELATIONS = ({"==="}, {"="})


def gathered(items: list[Node], modulus: Node) -> list[Node]:
    r"""The items before \pmod, of which the last ones are its classes: x \equiv 1, 4 \pmod 5."""
    first = len(items) - 1
    while first > 0 and items[first][0] not in ("rel", "residue"):
        first -= 1
    if items[first][0] == "residue":
        first += 1
    left, classes = _sides(items[first])
    return [*items[:first], ("residue", modulus, left, *classes, *items[first + 1 :])]


def _sides(node: Node) -> tuple[Node, tuple[Node, ...]]:
    if node[0] != "rel":
        return _NOTHING, (node,)
    if set(node[2]) not in _RELATIONS or not names(node[1][0]):
        raise ParseError("no congruence for a variable")
    return node[1][0], node[1][1:]


def closed(p: Reader, items: list[Node], argument: Callable[[Reader], Node]) -> list[Node]:
    r"""The items so far, with those that a \pmod here belongs to as one residue."""
    if p.name() == "\\pmod":
        p.position += 1
        return gathered(items, argument(p))
    last = items[-1]
    if last[0] == "rel" and last[2][-1] == "===" and last[1][-1][0] == "mod":
        _, value, modulus = last[1][-1]
        return gathered([*items[:-1], ("rel", (*last[1][:-1], value), last[2])], modulus)
    # x \equiv 1, 4 \bmod 5
    if last[0] == "mod" and any(i[0] == "rel" and i[2] == ("===",) for i in items[-_MAX_CLASSES:]):
        return gathered([*items[:-1], last[1]], last[2])
    return items


def merged(node: Node) -> Node:
    """Several classes of one modulus as one tree; any other tree as it is."""
    if node[0] == "list" and all(item[0] == "residue" for item in node[1:]):
        first = node[1]
        if all(item[1:3] == first[1:3] for item in node[1:]):
            return (*first[:3], *(c for item in node[1:] for c in item[3:]))
    return node


def same_residue(answer: Node, gold: Node, same: Callable[[Node, Node], bool]) -> bool:
    """Compare where at least one side is a residue."""
    answer, gold = _as_residue(answer), _as_residue(gold)
    if answer[0] != "residue":
        return _is_bare(gold, answer, same, as_written=True)
    if gold[0] != "residue":
        return _is_bare(answer, gold, same, as_written=False)
    if not _same_left(answer[2], gold[2], same):
        return False
    one, other = _whole(answer), _whole(gold)
    if one is None or other is None:
        return same(answer[1], gold[1]) and _same_classes(answer, gold, same)
    common = lcm(one[0], other[0])
    if one[0] != other[0] and common > _MAX_MODULUS:
        return False
    return _residues(one, common) == _residues(other, common)


def _as_residue(node: Node) -> Node:
    """3 mod 7, and x = 3 mod 7, where the other side is a residue."""
    inner = node
    if node[0] == "rel" and set(node[2]) in _RELATIONS and names(node[1][0]):
        inner = node[1][-1]
    return ("residue", inner[2], _NOTHING, inner[1]) if inner[0] == "mod" else node


def _same_left(one: Node, other: Node, same: Callable[[Node, Node], bool]) -> bool:
    """Any two names may stand for the unknown; x^2 and x may not."""
    if one == _NOTHING or other == _NOTHING:
        return all(node == _NOTHING or node[0] in ("sym", "call") for node in (one, other))
    return (one[0] == other[0] == "sym") or same(one, other)


def _classes(node: Node) -> list[Node]:
    found: list[Node] = []
    for item in node[3:]:
        signs = expand(item)
        found.extend(signs[1:] if signs[0] == "list" else (signs,))
    return found


def _whole(node: Node) -> tuple[int, list[int]] | None:
    """Modulus and classes as whole numbers; None where they are not."""
    values = [constant(item) for item in (node[1], *_classes(node))]
    whole = [v.numerator for v in values if isinstance(v, Fraction) and v.denominator == 1]
    if len(whole) != len(values) or whole[0] < 1:
        return None
    return whole[0], whole[1:]


def _residues(classes: tuple[int, list[int]], modulus: int) -> set[int]:
    """The classes, modulo a multiple of their modulus."""
    own, values = classes
    return {value % own + own * i for value in values for i in range(modulus // own)}


def _same_classes(answer: Node, gold: Node, same: Callable[[Node, Node], bool]) -> bool:
    """Classes with a name in them, up to one modulus: -1 and p - 1 modulo p."""
    one, other = _classes(answer), _classes(gold)
    if len(one) != len(other):
        return False
    return all(
        any(same(a, shifted) for b in other for shifted in (b, ("add", b, gold[1])))
        or any(same(("add", a, gold[1]), b) for b in other)
        for a in one
    )


def _is_bare(
    residue: Node, bare: Node, same: Callable[[Node, Node], bool], as_written: bool
) -> bool:
    """Whether numbers without a modulus are the classes of a residue."""
    if bare[0] == "rel" and bare[2] == ("=",) and bare[1][0][0] == "sym":
        bare = bare[1][-1]
    values = bare[1:] if bare[0] in ("list", "set") else (bare,)
    whole = _whole(residue)
    if whole is None:
        written = _classes(residue)
        return len(values) == len(written) and all(
            any(same(value, item) for item in written) for value in values
        )
    if not (residue[2] == _NOTHING or residue[2][0] in ("sym", "call")):
        return False
    numbers = [constant(value) if value[0] != "qty" else None for value in values]
    allowed = {value % whole[0]: {value % whole[0], value} for value in whole[1]}
    if not as_written:
        allowed = {least: {least} for least in allowed}
    found = {least for least, ways in allowed.items() if ways & set(numbers)}
    return len(found) == len(allowed) and all(
        any(number in ways for ways in allowed.values()) for number in numbers
    )
