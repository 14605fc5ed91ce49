r"""Whether two parsed answers say the same thing.

In: trees of parse.py, the answer's and the gold's. Out: True or False; CannotTell where neither is
shown. Conventions: bare lists and sets are unordered, tuples and intervals are ordered; an
equation with a name on its left stands for its right side; 3 < x < 5 is the interval (3, 5).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from prime_core.verifiers.math import (
    compound,
    matrices,
    naming,
    readings,
    relations,
    residues,
    units,
)
from prime_core.verifiers.math.connectives import as_list, is_joined, same_statement
from prime_core.verifiers.math.evaluate import NotANumber, Work
from prime_core.verifiers.math.exact import words
from prime_core.verifiers.math.intervals import as_region, is_region
from prime_core.verifiers.math.limits import without_limit
from prime_core.verifiers.math.piecewise import same_branches
from prime_core.verifiers.math.rationals import TooLarge
from prime_core.verifiers.math.shapes import expand, rewrite
from prime_core.verifiers.math.tree import Node
from prime_core.verifiers.math.values import CannotTell, constant, same_value

_MAX_PAIRS = 3_000  # comparisons of elements of two unordered collections


def equal(answer: Node, gold: Node, ordered: bool = False) -> bool:
    """Compare two whole answers. ordered: a bare list of the gold is a tuple."""
    answer, gold = readings.adapted(without_limit(answer), without_limit(gold))
    named = naming.by_name(answer, gold, same)
    if named is not None:
        return named
    # Rewritten they are sets alone; y in S and f(x) in S may be about one function.
    members = _member(answer), _member(gold)
    if all(members) and members[0] != members[1]:
        return False
    answer, gold = rewrite(answer), rewrite(gold)
    if is_joined(answer) or is_joined(gold):
        decided = same_statement(answer, gold, same)
        if decided is not None:
            return decided
        answer, gold = rewrite(as_list(answer)), rewrite(as_list(gold))
    answer, gold = expand(answer), expand(gold)
    answer, gold = residues.merged(answer), residues.merged(gold)
    if answer == gold:
        return True
    if answer[0] == "residue" or gold[0] == "residue":
        return residues.same_residue(answer, gold, same)
    if gold[0] == "list" or answer[0] == "list":
        return _lists(answer, gold, ordered)
    return same(answer, gold)


def _member(node: Node) -> str:
    """The name of x in S; '' for anything else."""
    said = node[0] == "rel" and node[2] == ("in",) and node[1][0][0] == "sym"
    return str(node[1][0][1]) if said else ""


def same(answer: Node, gold: Node) -> bool:
    """Compare two items."""
    # Before any evaluation: what has no value (1/0, a derivative) still equals itself.
    if answer == gold:
        return True
    # Charged as well as evaluation: comparing a large collection of words evaluates nothing.
    Work.charge(10)
    for node in (answer, gold):
        if node[0] == "toolong":
            raise TooLarge(node[1])
    if answer[0] == "residue" or gold[0] == "residue":
        return residues.same_residue(answer, gold, same)
    answer, gold = compound.resolved(answer, gold), compound.resolved(gold, answer)
    given, wanted = answer, gold
    answer_unit, answer = _unit(_with_unit(answer, gold))
    gold_unit, gold = _unit(_with_unit(gold, given))
    if units.contradict(answer_unit, gold_unit):
        return False
    if answer[0] == "pct" or gold[0] == "pct":
        # 5% is 5 or 0.05 where the other side is bare, but not 5 dollars.
        other = gold_unit if answer[0] == "pct" else answer_unit
        if answer[0] != gold[0] and units.contradict("percent", other):
            return False
        return _percents(answer, gold)
    if answer[0] == "text" or gold[0] == "text":
        return answer[0] == gold[0] and words(answer[1]) == words(gold[1])
    if answer[0] in ("and", "or") or gold[0] in ("and", "or"):
        return same_statement(answer, gold, same) is True
    if answer[0] == "rel" or gold[0] == "rel":
        # With their units, which are compared where the values are.
        return relations.same_relation(given, wanted, same)
    # Two plain pairs are left to _sequences: (1, 2) may be a point as well as an interval.
    if is_region(answer) and is_region(gold) and (_is_set(answer) or _is_set(gold)):
        return as_region(answer) == as_region(gold)
    if answer[0] == "matrix" or gold[0] == "matrix":
        return _matrices(answer, gold)
    if answer[0] == "set" or gold[0] == "set":
        return answer[0] == gold[0] and unordered(answer[1:], gold[1:])
    if answer[0] == "seq" or gold[0] == "seq":
        return _sequences(answer, gold)
    # a:b alone is the number a/b, so that 3:4 equals 3/4 and 6:8.
    if answer[0] == "ratio" and gold[0] == "ratio" and len(answer) + len(gold) > 6:
        return _ratios(answer[1:], gold[1:])
    return _values(answer, gold)


def unordered(answer: tuple[Node, ...], gold: tuple[Node, ...]) -> bool:
    """Whether two collections hold the same elements, repetitions aside."""
    one, other = _distinct(answer), _distinct(gold)
    # Large sets of plain numbers are compared by hash, which needs no limit on pairs.
    if all(isinstance(key, Fraction) for key in [*one, *other]):
        return set(one) == set(other)
    if len(one) * len(other) > _MAX_PAIRS:
        raise TooLarge("two collections of many elements")
    left, right = list(one.values()), list(other.values())
    # Both ways: one way alone, {1, 2} would be covered by {1, 2, 3}.
    return _covers(left, right) and _covers(right, left)


def _distinct(items: tuple[Node, ...]) -> dict[Any, Node]:
    """Elements by value where they are fractions, else by their trees."""
    found: dict[Any, Node] = {}
    for item in items:
        # By value alone, 5 cm and 5 m, or 101 in two bases, would be one element.
        value = constant(item) if item[0] not in ("qty", "pct", "deg", "based") else None
        found.setdefault(value if isinstance(value, Fraction) else item, item)
    return found


def _covers(some: list[Node], others: list[Node]) -> bool:
    """Whether each of `some` equals one of `others`."""
    return all(any(_same_or_not(item, other) for other in others) for item in some)


def _same_or_not(one: Node, other: Node) -> bool:
    try:
        return same(one, other)
    # Not the end of it: another element may still be the equal one.
    except (CannotTell, NotANumber):
        return False


def _lists(answer: Node, gold: Node, ordered: bool) -> bool:
    """A comma list against a list, set, tuple or single item."""
    one = answer[1:] if answer[0] in ("list", "set") else (answer,)
    other = gold[1:] if gold[0] in ("list", "set") else (gold,)
    if answer[0] == "list" and gold[0] == "list":
        # By name first: as bare lists, a = 2, b = 1 and a = 1, b = 2 have the same elements.
        assigned = relations.same_assignments(one, other, same)
        if assigned is not None:
            return assigned
    if len(other) == 1 and _is_tuple(gold):  # 1, 2 for (1, 2)
        return _in_order(_values_of(one), gold[2:])
    if len(one) == 1 and _is_tuple(answer) and len(other) == len(answer) - 2:
        return _in_order(answer[2:], _values_of(other))
    if len(one) == 1 and answer[0] == "rel":  # x in {2, 3}, or x = 2 for two roots
        inner = relations.right_side(answer)
        if inner[0] in ("set", "seq"):
            return _lists(inner, gold, ordered)
    if ordered:
        return _in_order(naming.in_order(one) or one, naming.in_order(other) or other)
    if gold[0] == "list" and all(item[0] == "set" for item in one):
        one = tuple(element for item in one for element in item[1:])
    return unordered(one, other)


def _values_of(items: tuple[Node, ...]) -> tuple[Node, ...]:
    """Items beside a tuple: in the order of their names where they have some."""
    found = naming.in_order(items)
    return found if found is not None else tuple(map(relations.right_side, items))


def _in_order(one: tuple[Node, ...], other: tuple[Node, ...]) -> bool:
    return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))


def _is_tuple(node: Node) -> bool:
    return node[0] == "seq" and node[1] == "()"


def _is_set(node: Node) -> bool:
    return node[0] in ("union", "inter", "minus", "builder", "set") or (
        node[0] == "sym" and node[1].startswith("mathbb_")
    )


def _with_unit(node: Node, other: Node) -> Node:
    """5 m and 5 m/s^2 as quantities, where the other side has a unit."""
    if other[0] != "qty" or node[0] not in ("mul", "div"):
        return node
    found = _measured(node)
    if found is None or not found[1]:
        return node
    return ("qty", found[0], " ".join(f"{letter}^{power}" for letter, power in found[1].items()))


def _measured(node: Node) -> tuple[Node, dict[str, int]] | None:
    """The number and the powers of units in a product; None where it has anything else."""
    one: Node = ("num", Fraction(1))
    if node[0] == "sym":
        return (one, {node[1]: 1}) if node[1] in units.SINGLE_LETTERS else None
    if node[0] == "pow" and node[1][0] == "sym":
        power = node[2][1] if node[2][0] == "num" and abs(node[2][1]) < 10 else 0
        found = _measured(node[1])
        whole = power and power.denominator == 1
        return (one, {node[1][1]: int(power)}) if found and whole else None
    if node[0] not in ("mul", "div"):
        return (node, {}) if constant(node) is not None else None
    left, right = _measured(node[1]), _measured(node[2])
    if left is None or right is None:
        return None
    sign = 1 if node[0] == "mul" else -1
    powers = dict(left[1])
    for letter, power in right[1].items():
        powers[letter] = powers.get(letter, 0) + sign * power
    return (node[0], left[0], right[0]), powers


def _unit(node: Node) -> tuple[str, Node]:
    """Unit and number of an item; a trailing degree sign is a unit."""
    unit = ""
    while node[0] in ("qty", "deg"):
        if node[0] == "deg":
            unit, node = f"{unit} degree", node[1]
        else:
            # 2 million is a number, not 2 of a unit: it equals 2,000,000 without any word.
            factor = units.multiplier(node[2])
            unit = f"{unit} {node[2]}"
            node = ("mul", ("num", factor), node[1]) if factor != 1 else node[1]
    if node[0] == "neg" and node[1][0] == "deg":
        return f"{unit} degree", ("neg", node[1][1])
    return unit, node


def _percents(answer: Node, gold: Node) -> bool:
    """50% equals 50% always; 0.5 or 50 where only one side writes the sign."""
    one = answer[1] if answer[0] == "pct" else answer
    other = gold[1] if gold[0] == "pct" else gold
    if same(one, other):
        return True
    # Both have the sign: 1% is not 100%.
    if answer[0] == gold[0]:
        return False
    if answer[0] == "pct":
        one = ("div", one, ("num", Fraction(100)))
    else:
        other = ("div", other, ("num", Fraction(100)))
    return same(one, other)


def _sequences(answer: Node, gold: Node) -> bool:
    """Tuples and intervals: brackets count where an interval may be meant."""
    if answer[0] != "seq" or gold[0] != "seq":
        return False
    # Two numbers may be an interval, where [ and ( differ; three are a tuple in either bracket.
    if answer[1] != gold[1] and (len(gold) == 4 or "[" not in answer[1] + gold[1]):
        return False
    return _in_order(answer[2:], gold[2:])


def _matrices(answer: Node, gold: Node) -> bool:
    one, other = matrices.rows(answer), matrices.rows(gold)
    if one is None or other is None:
        return False
    if answer[0] == "seq" and len(other) == 1 and len(one) > 1:
        one = (tuple(row[0] for row in one),)  # a tuple may stand for a row as well
    if [len(row) for row in one] != [len(row) for row in other]:
        return False
    return all(_in_order(a, b) for a, b in zip(one, other, strict=True))


def _ratios(one: tuple[Node, ...], other: tuple[Node, ...]) -> bool:
    """a:b:c = d:e:f where the quotients are equal."""
    if len(one) != len(other):
        return False
    pairs = list(zip(one, other, strict=True))
    a, b = pairs[0]
    # By cross products: a quotient would fail where a member is zero.
    return all(same_value(("mul", a, d), ("mul", b, c)) for c, d in pairs[1:])


def _values(answer: Node, gold: Node) -> bool:
    """Expressions; infinity equals itself alone."""
    # No arithmetic here has a value for infinity: evaluated, it could only be undecided.
    signs = [_infinite(answer), _infinite(gold)]
    if any(signs):
        return signs[0] == signs[1]
    collections = ("list", "set", "seq", "matrix", "union", "inter", "minus", "builder")
    if answer[0] in collections or gold[0] in collections:
        if matrices.rows(answer) is not None and matrices.rows(gold) is not None:
            return _matrices(answer, gold)
        if answer[0] == gold[0] and gold[0] in ("union", "inter"):
            return unordered(_operands(answer), _operands(gold))
        if answer[0] in collections and gold[0] in collections:
            # math-verify knows more of sets than we do: it is asked.
            raise CannotTell("collections of different kinds")
        return False
    # A question about a base wants its digits: 11 in base 2 is no answer for 3 in base 10.
    if answer[0] == "based" and gold[0] == "based" and answer[2] != gold[2]:
        return False
    try:
        return same_value(answer, gold)
    except NotANumber as error:
        # Conditions in words, such as 'n even', have no value, but can be compared.
        if answer[0] == gold[0] == "piecewise":
            return same_branches(answer, gold, same)
        raise CannotTell(f"no value: {error}") from None
    except TooLarge:
        if _congruent(answer, gold):
            return True
        raise


def _congruent(one: Any, other: Any) -> bool:
    """The same operation on equal parts: 2^{10^{10}}, which nobody computes."""
    if one == other:
        return True
    if not (isinstance(one, tuple) and isinstance(other, tuple)) or one[0] != other[0]:
        return False
    if len(one) != len(other) or one[0] not in ("pow", "mul", "add", "neg", "div", "fact"):
        return False
    for a, b in zip(one[1:], other[1:], strict=True):
        try:
            if not (isinstance(a, tuple) and isinstance(b, tuple) and same_value(a, b)):
                return False
        except TooLarge:
            if not _congruent(a, b):
                return False
        except (CannotTell, NotANumber):
            return False
    return True


def _operands(node: Node) -> tuple[Node, ...]:
    """The sets of A cup (B cup C), in which neither order nor brackets count."""
    parts = node[1:]
    return tuple(
        operand
        for part in parts
        for operand in (_operands(part) if part[0] == node[0] else (part,))
    )


def _infinite(node: Node) -> int:
    if node[0] == "inf":
        return 1
    return -_infinite(node[1]) if node[0] == "neg" else 0
