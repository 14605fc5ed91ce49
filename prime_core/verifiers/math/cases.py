r"""Functions by cases: values with their conditions, in any order.

Tree: ("cases", (value, condition), ...). 'otherwise' stands for whatever the other lines leave.
"""

from __future__ import annotations

from collections.abc import Callable

from prime_core.verifiers.math.evaluate import NotANumber
from prime_core.verifiers.math.exact import words
from prime_core.verifiers.math.tree import Node
from prime_core.verifiers.math.values import CannotTell

_REST = frozenset(["otherwise", "else", "elsewhere", "other", "in all other cases"])
_LEADS = frozenset(["if", "when", "for", "where", "is"])
Same = Callable[[Node, Node], bool]


def same_cases(answer: Node, gold: Node, same: Same) -> bool:
    """Whether each line of the one is a line of the other."""
    if len(answer) != len(gold):
        return False
    left = list(answer[1:])
    unmatched = []
    for line in gold[1:]:
        match = next((other for other in left if _same_line(line, other, same)), None)
        if match is None:
            unmatched.append(line)
        else:
            left.remove(match)
    if not unmatched:
        return True
    # One line may say 'otherwise' for what the other side spells out.
    if len(unmatched) > 1 or not (_is_rest(unmatched[0][1]) or _is_rest(left[0][1])):
        return False
    return _equal(unmatched[0][0], left[0][0], same)


def _same_line(one: tuple[Node, Node], other: tuple[Node, Node], same: Same) -> bool:
    return _equal(one[0], other[0], same) and _same_condition(one[1], other[1], same)


def _same_condition(one: Node, other: Node, same: Same) -> bool:
    if _is_rest(one) or _is_rest(other):
        return _is_rest(one) and _is_rest(other)
    if one[0] == other[0] == "qty":  # n \text{ is even}
        return _key(one[2]) == _key(other[2]) and _equal(one[1], other[1], same)
    if "qty" in (one[0], other[0]):
        return False
    return _equal(one, other, same)


def _key(text: str) -> tuple[str, ...]:
    return tuple(word for word in words(text) if word not in _LEADS)


def _is_rest(node: Node) -> bool:
    return bool(node[0] == "text" and node[1].lower().strip(" .,") in _REST)


def _equal(one: Node, other: Node, same: Same) -> bool:
    try:
        return same(one, other)
    except (CannotTell, NotANumber):
        return one == other
