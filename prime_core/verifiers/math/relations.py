r"""Equations and inequalities: when two say the same, and what a named equation stands for.

x = 5 stands for 5 and f(x) = x + 1 for x + 1; 2x + 2y = 6 is x + y = 3, since the differences of
their sides are proportional at every point.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

from prime_core.verifiers.math.evaluate import NotANumber, names
from prime_core.verifiers.math.intervals import as_region
from prime_core.verifiers.math.tree import Node
from prime_core.verifiers.math.values import CannotTell, constant, point, same_value

Same = Callable[[Node, Node], bool]

_ORDER = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def same_relation(answer: Node, gold: Node, same: Same) -> bool:
    """Compare where at least one side is an equation or inequality."""
    if answer[0] == "rel" and gold[0] == "rel":
        return _both(answer, gold, same)
    if answer[0] == "rel" and set(answer[2]) <= {"=", "~"}:
        return _equation_for_value(answer, gold, same)
    if gold[0] == "rel" and set(gold[2]) <= {"=", "~"}:
        stands_for = right_side(gold)
        # Unchanged, it would come back here without end.
        return stands_for != gold and same(answer, stands_for)
    one, other = as_region(answer), as_region(gold)
    return one is not None and one == other


def right_side(node: Node) -> Node:
    """What an equation with a name on one side stands for; any other tree is itself."""
    if node[0] != "rel" or not set(node[2]) <= {"=", "~", "in"}:
        return node
    if is_name(node[1][0]):
        return node[1][-1]
    # 5 = x. In a longer chain the last member is the result.
    if is_name(node[1][-1]) and len(node[1]) == 2:
        return node[1][0]
    return node


def is_name(node: Node) -> bool:
    """x, a_1, AB, f(x), p(x), \\sin t, (x, y), 'Area': what an answer may be called."""
    if node[0] in ("sym", "text", "call"):
        # e, i and pi are no names for an answer: pi = 3 says nothing.
        return node[0] != "sym" or bool(names(node))
    if node[0] == "qty":
        return is_name(node[1])
    if node[0] == "mul":
        return is_name(node[1]) and (is_name(node[2]) or constant(node[2]) is not None)
    if node[0] == "fun":
        return bool(names(node))
    if node[0] == "seq":
        return all(is_name(item) for item in node[2:])
    return False


def same_assignments(one: tuple[Node, ...], other: tuple[Node, ...], same: Same) -> bool | None:
    """a = 1, b = 2 against b = 2, a = 1; None where the lists are not assignments to names."""
    first, second = _assignments(one), _assignments(other)
    if first is None or second is None:
        return None
    return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)


def _assignments(items: tuple[Node, ...]) -> dict[str, Node] | None:
    found: dict[str, Node] = {}
    for item in items:
        if item[0] != "rel" or item[2] != ("=",) or item[1][0][0] != "sym":
            return None
        found[item[1][0][1]] = item[1][1]
    # x = 1, x = 2 are two solutions, not an assignment.
    return found if len(found) == len(items) else None


def _equation_for_value(answer: Node, gold: Node, same: Same) -> bool:
    """An equation, or a chain of them, given where the gold is a value."""
    members = answer[1]
    if gold[0] in ("seq", "set", "union", "builder", "minus", "inter"):
        region = as_region(answer)
        if region is not None and len(members) > 1 and region == as_region(gold):
            return True
    constants = [m for m in members if not _variable(m)]
    for one, other in pairwise(constants):
        if "~" not in answer[2] and not same(one, other):
            return False  # 2 + 3 = 6 is no answer, whatever stands beside it
    if constants and any(_is_unsolved(m) for m in members):
        return False
    if constants and len(constants) < len(members):
        return any(same(member, gold) for member in constants)
    if constants:
        # No name: 2 + 3 = 5 or 5 = 2 + 3. What stands between is a step.
        return any(same(member, gold) for member in (constants[-1], constants[0]))
    return is_expression_of(members, gold) and same(members[-1], gold)


def _is_unsolved(node: Node) -> bool:
    """2x or x + 1, of which an equation says something, without saying what x is."""
    variables = names(node)
    if len(variables) != 1 or node[0] not in ("add", "mul", "div", "pow", "neg"):
        return False
    if node[0] == "mul" and constant(node[1]) is None:
        return False
    name = next(iter(variables)).strip("\\").partition("_")[0]
    return len(name) == 1  # the square AB^2 of a length is asked for


def _variable(node: Node) -> bool:
    return bool(names(node)) or is_name(node)


def is_expression_of(members: tuple[Node, ...], gold: Node) -> bool:
    """Whether the last member of a chain is what the chain defines, and not a mere name."""
    return members[0] != members[-1] and (bool(names(gold)) or gold[0] != "num")


def _both(answer: Node, gold: Node, same: Same) -> bool:
    if len(answer[1]) == 2 and len(gold[1]) == 2:
        try:
            if _two_sided(answer, gold, same):
                return True
        # Undecided as expressions; as sets of reals below they may still be equal.
        except (CannotTell, NotANumber):
            pass
    elif answer[2] == gold[2] and len(answer[1]) == len(gold[1]):
        if all(same(a, b) for a, b in zip(answer[1], gold[1], strict=True)):
            return True
    elif set(answer[2]) == set(gold[2]) == {"="}:
        return answer[1][0] == gold[1][0] and same(answer[1][-1], gold[1][-1])
    one, other = as_region(answer), as_region(gold)
    # Regions forget the variable: x > 2 and y > 2 are one set, but two answers.
    return one is not None and one == other and names(answer) == names(gold)


def _two_sided(answer: Node, gold: Node, same: Same) -> bool:
    (a, b), (c, d) = answer[1], gold[1]
    relation, wanted = answer[2][0], gold[2][0]
    if relation == wanted and _same_side(a, c, same) and _same_side(b, d, same):
        return True
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
    return _substituted(head, old, new), _substituted(body, old, new)


def _substituted(node: Any, old: str, new: str) -> Any:
    if not isinstance(node, tuple):
        return node
    if node == ("sym", old):
        return ("sym", new)
    return tuple(_substituted(child, old, new) for child in node)


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
