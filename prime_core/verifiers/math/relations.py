r"""Equations and inequalities: when two say the same, and what a named equation stands for.

x = 5 stands for 5 and f(x) = x + 1 for x + 1; 2x + 2y = 6 is x + y = 3, since the differences of
their sides are proportional at every point.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from prime_core.verifiers.math import chains, naming, units
from prime_core.verifiers.math.atoms import GREEK
from prime_core.verifiers.math.evaluate import NotANumber, names
from prime_core.verifiers.math.intervals import as_region
from prime_core.verifiers.math.tree import Node
from prime_core.verifiers.math.values import CannotTell, constant, point, same_value

Same = Callable[[Node, Node], bool]

_ORDER = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_SYMMETRIC = frozenset(["perp", "parallel", "sim", "cong", "<=>", "<->"])
_TRIGONOMETRIC = frozenset(["sin", "cos", "tan", "cot", "sec", "csc", "cosec", "tg", "ctg"])
# The modulus of a complex number or a vector is asked for; |x| = 5 leaves x open.
_WITH_MODULUS = frozenset("zwuv")
_UNKNOWNS = frozenset("xyztuvwnmk")


def same_relation(answer: Node, gold: Node, same: Same) -> bool:
    """Compare where at least one side is an equation or inequality."""
    if answer[0] == "rel" and gold[0] == "rel":
        return _both(answer, gold, same)
    if chains.is_chain(answer):
        return _equation_for_value(answer, gold, same)
    if chains.is_chain(gold):
        # Unchanged, it would come back here without end.
        return any(value != gold and same(answer, value) for value in stands_for(gold))
    one, other = as_region(answer), as_region(gold)
    return one is not None and one == other


def right_side(node: Node) -> Node:
    """What an equation with a name on one side stands for; any other tree is itself."""
    if node[0] != "rel" or not chains.EQUALS | {"in"} >= set(node[2]):
        return node
    if is_name(node[1][0]):
        values = [i for i, member in enumerate(node[1]) if not _variable(member)]
        return node[1][-1] if chains.agreeing(node, values) else node
    # 5 = x. In a longer chain the last member is the result.
    if is_name(node[1][-1]) and len(node[1]) == 2:
        return node[1][0]
    return node


def stands_for(node: Node) -> tuple[Node, ...]:
    """The values of a chain, its first and its last; of a named expression the expression."""
    values = [i for i, member in enumerate(node[1]) if not _variable(member)]
    # AB = 2x = 10 says what AB is.
    if values and (
        is_plain_name(node[1][0]) or not any(_is_open(member, node) for member in node[1])
    ):
        ends = (node[1][values[-1]], node[1][values[0]])
        return ends if chains.agreeing(node, values) else ()
    return () if values else (right_side(node),)


def is_name(node: Node) -> bool:
    """x, a_1, AB, f(x), p(x), \\sin t, (x, y), 'Area': what an answer may be called."""
    if node[0] in ("sym", "text", "call"):
        # e, i and pi are no names for an answer: pi = 3 says nothing.
        return node[0] != "sym" or bool(names(node))
    if node[0] == "qty":
        return is_name(node[1])
    if node[0] == "mul":
        if _is_argument(node[2]):  # P(3) and E(2, 3), but not x times 3
            return is_name(node[1]) and node[1][1] not in _UNKNOWNS
        return is_name(node[1]) and is_name(node[2])
    if node[0] == "fun":
        return _names_a_value(node[1], node[2])
    if node[0] == "seq":
        return all(is_name(item) for item in node[2:])
    return False


def _is_argument(node: Node) -> bool:
    items = node[2:] if node[0] == "seq" else (node,)
    return all(constant(item) is not None for item in items)


def _names_a_value(function: str, argument: Node) -> bool:
    r"""\sin\theta, \cos 2x, |z|, \det A: functions of a name whose value problems ask for."""
    if not names(argument):
        return False
    if function in _TRIGONOMETRIC:
        inner = [part for part in argument[1:] if argument[0] in ("mul", "div")] or [argument]
        return all(part[0] == "sym" or constant(part) is not None for part in inner)
    if function in ("abs", "det", "arg", "Re", "Im") and is_name(argument):
        name = argument[1] if argument[0] == "sym" else ""
        return not _is_letter(name) or name[0].isupper() or name[0] in _WITH_MODULUS
    return False


def same_assignments(one: tuple[Node, ...], other: tuple[Node, ...], same: Same) -> bool | None:
    """a = 1, b = 2 against b = 2, a = 1; None where the lists are not assignments to names."""
    first, second = naming.assignments(one), naming.assignments(other)
    if first is None or second is None:
        return None
    return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)


def _equation_for_value(answer: Node, gold: Node, same: Same) -> bool:
    """An equation, or a chain of them, given where the gold is a value."""
    members = answer[1]
    if gold[0] in ("seq", "set", "union", "builder", "minus", "inter"):
        region = as_region(answer)
        if region is not None and len(members) > 1 and region == as_region(gold):
            return True
    if all(_variable(member) for member in members):
        # 2d = 13n says something of d; (x^2 - 1)/(x - 1) = x + 1 is one expression.
        if _is_unsolved(members[0]) and not names(members[0]) <= names(members[-1]):
            return False
        return is_expression_of(members, gold) and same(members[-1], gold)
    return any(same(value, gold) for value in stands_for(answer))


def _is_open(member: Node, chain: Node) -> bool:
    """Whether a member is an expression whose value leaves its unknown open, as in x^2 = 9."""
    if _is_unsolved(member):
        return True
    # y^2 - 4x = 0 is a curve, and not the number 0.
    zero = any(constant(other) == 0 for other in chain[1] if not _variable(other))
    return zero and _variable(member) and not is_plain_name(member)


def _is_unsolved(node: Node) -> bool:
    r"""2x, x + 1, \sqrt{x}, x!: an equation says something of it, without saying what x is."""
    if node[0] == "qty":
        return _is_unsolved(node[1])
    variables = names(node)
    if (
        len(variables) != 1
        or is_plain_name(node)
        or node[0] in ("seq", "set", "list", "matrix", "rel")
    ):
        return False
    return _is_letter(next(iter(variables)))  # the square AB^2 of a length is asked for


def _is_letter(name: str) -> bool:
    """x, x_1 or \\theta, which stand for an unknown; not AB or \\angle A."""
    base = name.partition("_")[0]
    return len(base) == 1 or base.lstrip("\\") in GREEK


def is_plain_name(node: Node) -> bool:
    """A name that is no product of unknowns: xy = 0 does not say what xy is called."""
    if node[0] == "mul":
        return is_name(node) and not all(
            part[0] == "sym" and part[1] in _UNKNOWNS for part in node[1:]
        )
    return is_name(node)


def _variable(node: Node) -> bool:
    return bool(names(node)) or is_name(node)


def is_expression_of(members: tuple[Node, ...], gold: Node) -> bool:
    """Whether the last member of a chain is what the chain defines, and not a mere name."""
    return members[0] != members[-1] and (bool(names(gold)) or gold[0] != "num")


def _both(answer: Node, gold: Node, same: Same) -> bool:
    if _is_equation(answer) and _is_equation(gold) and answer[2] + gold[2] != ("=", "="):
        one, other = _results(answer), _results(gold)
        return any(_two_members(a, b, same) for a in one for b in other)
    return _two_members(answer, gold, same)


def _is_equation(node: Node) -> bool:
    return set(node[2]) <= {"=", "~"}


def _results(chain: Node) -> list[Node]:
    """x = 6/2 = 3 as x = 3 and x = 6/2; without values, the first member and the last."""
    members = chain[1]
    values = [i for i, member in enumerate(members) if not _variable(member)]
    if not chains.agreeing(chain, values):
        return []
    ends = {values[-1], values[0]} - {0} if values else {len(members) - 1}
    if values and values[0] == 0 and len(values) < len(members):  # 5 = x
        return [("rel", (members[-1], members[0]), ("=",))]
    return [("rel", (members[0], members[end]), ("=",)) for end in sorted(ends, reverse=True)]


def _two_members(answer: Node, gold: Node, same: Same) -> bool:
    # Behind this, differences and regions know of numbers alone.
    if units.contradict(_units(answer), _units(gold)):
        return False
    if len(answer[1]) == 2 and len(gold[1]) == 2:
        try:
            if _two_sided(answer, gold, same):
                return True
        # Undecided as expressions; as sets of reals below they may still be equal.
        except (CannotTell, NotANumber):
            pass
    elif (
        answer[2] == gold[2]
        and len(answer[1]) == len(gold[1])
        and all(same(a, b) for a, b in zip(answer[1], gold[1], strict=True))
    ):
        return True
    one, other = as_region(answer), as_region(gold)
    # Regions forget the variable: x > 2 and y > 2 are one set, but two answers.
    return one is not None and one == other and names(answer) == names(gold)


def _units(equation: Node) -> str:
    """The unit of an equation's last quantity; '' without one."""
    quantities = [member[2] for member in equation[1] if member[0] == "qty"]
    return quantities[-1] if quantities else ""


def _two_sided(answer: Node, gold: Node, same: Same) -> bool:
    (a, b), (c, d) = answer[1], gold[1]
    relation, wanted = answer[2][0], gold[2][0]
    if relation == wanted and _same_side(a, c, same) and _same_side(b, d, same):
        return True
    if relation == wanted and relation in _SYMMETRIC:
        return _same_side(a, d, same) and _same_side(b, c, same)
    if relation == wanted == "=":
        a, b = _renamed(a, b, c)
        if _defines(a) and _defines(c) and ("sym", "y") in (a, c) and same(b, d):
            return True
        if a == c and same(b, d):
            return True
    # They have no value, or one that is made up for comparing: no constant factor follows from it.
    if any(node[0] in ("call", "text", "seq", "set", "matrix") for node in (a, b, c, d)):
        return False
    if {relation, wanted} <= {"=", "!="} | set(_ORDER):
        return _proportional((a, b), relation, (c, d), wanted)
    return False


def _same_side(one: Node, other: Node, same: Same) -> bool:
    try:
        return same(one, other)
    except (CannotTell, NotANumber):
        return False


def _defines(head: Node) -> bool:
    """y, or f(x): the head of a function's definition."""
    return head == ("sym", "y") or (head[0] == "call" and head[2] == ("sym", "x"))


def _renamed(head: Node, body: Node, wanted: Node) -> tuple[Node, Node]:
    """f(y) = y + 1 as f(x) = x + 1, where the other side writes f(x)."""
    if head[0] not in ("call", "mul") or wanted[0] != head[0] or len(head) != len(wanted):
        return head, body
    if head[1] != wanted[1] or head[2][0] != "sym" or wanted[2][0] != "sym":
        return head, body
    old, new = head[2][1], wanted[2][1]
    # P(y) = y + 1. Without it in the body, ab = 5 and \angle BEA_1 = 90 are about b and A_1.
    bound = old in names(body)
    if not bound and (head[0] == "mul" or new in names(body) or not {old, new} <= _UNKNOWNS):
        return head, body
    return renamed(head, old, new), renamed(body, old, new)


def renamed(node: Any, old: str, new: str) -> Any:
    """A tree with another name in the place of one."""
    if not isinstance(node, tuple):
        return node
    if node == ("sym", old):
        return ("sym", new)
    return tuple(renamed(child, old, new) for child in node)


def _proportional(
    one: tuple[Node, Node], relation: str, other: tuple[Node, Node], wanted: str
) -> bool:
    """Whether left - right of the one is a constant times that of the other."""
    left = ("add", one[0], ("neg", one[1]))
    right = ("add", other[0], ("neg", other[1]))
    variables = names(left)
    # Without a variable any two true equations, 1 = 1 and 2 = 2, would be proportional.
    if variables != names(right) or not variables:
        return False
    at = {name: ("num", value) for name, value in point(variables, 2).items()}
    first, second = constant(_at(left, at)), constant(_at(right, at))
    if (
        not isinstance(first, Fraction)
        or not isinstance(second, Fraction)
        or not first
        or not second
    ):
        return _by_signs(left, right, relation, wanted)
    ratio = first / second
    # Multiplied by a negative number an inequality turns round.
    expected = relation if ratio > 0 else _ORDER.get(relation, relation)
    return expected == wanted and same_value(left, ("mul", ("num", ratio), right))


def _by_signs(left: Node, right: Node, relation: str, wanted: str) -> bool:
    """Irrational coefficients: equal or opposite differences only."""
    if relation == wanted and same_value(left, right):
        return True
    return _ORDER.get(relation, relation) == wanted and same_value(left, ("neg", right))


def _at(node: Any, values: dict[str, Node]) -> Any:
    if not isinstance(node, tuple):
        return node
    if node and node[0] == "sym":
        return values.get(node[1], node)
    return tuple(_at(child, values) for child in node)
