r"""Statements joined by 'and' and 'or': ("and", items...), ("or", items...).

x > 1 and x < 3 is one interval, x < 1 or x > 3 two; p \wedge q is not p \vee q. Between values
(2 and 3, x = 2 or x = 3) the two words mean the same, and stay a list. A comma may be either.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from prime_core.verifiers.math.evaluate import names
from prime_core.verifiers.math.intervals import as_region
from prime_core.verifiers.math.tree import Node

Same = Callable[[Node, Node], bool]

OR_WORDS = frozenset(["or", ",or", "and/or", "\\vee", "oder", "ou", "или", "或", "o"])
AND_WORDS = frozenset(["and", ",and", "\\wedge", "but", "und", "et", "и", "且", "y"])
_STATING = frozenset(["<", ">", "<=", ">=", "!=", "in", "notin"])
_MAX_ITEMS = 50


def joined(items: list[Node], words: list[str]) -> Node:
    """Items with what stands between them: a list, or a statement of several."""
    if len(items) == 1:
        return items[0]
    kinds = ["or" if w in OR_WORDS else "and" if w in AND_WORDS else "," for w in words]
    if set(kinds) == {","} or not _is_logical(items):
        return ("list", *items)
    # With one of them a comma stands for the same word: a, b, or c.
    if "or" not in kinds or "and" not in kinds:
        return ("or" if "or" in kinds else "and", *items)
    groups: list[list[Node]] = [[items[0]]]
    for kind, item in zip(kinds, items[1:], strict=True):
        if kind == "or":
            groups.append([item])
        else:
            groups[-1].append(item)
    return ("or", *(group[0] if len(group) == 1 else ("and", *group) for group in groups))


def _is_logical(items: list[Node]) -> bool:
    """Whether it matters by which word they are joined."""
    if any(_is_statement(item) for item in items):
        return True
    # p and q: with a number among them they are values.
    if all(item[0] == "sym" for item in items):
        return True
    # x = 1 or y = 2 are two lines, x = 1 or x = 2 two solutions.
    heads = {str(item[1][0]) for item in items if item[0] == "rel"}
    return len(heads) > 1 and all(item[0] == "rel" for item in items)


def _is_statement(node: Node) -> bool:
    if node[0] in ("and", "or"):
        return True
    return node[0] == "rel" and not _STATING.isdisjoint(node[2])


def is_joined(node: Node) -> bool:
    """Whether a tree is statements joined by 'and', 'or', or by commas alone."""
    if node[0] in ("and", "or"):
        return True
    return node[0] == "list" and all(_is_statement(item) for item in node[1:])


def as_list(node: Node) -> Node:
    """A statement of several as the list of its items."""
    return ("list", *node[1:]) if node[0] in ("and", "or") else node


def same_statement(answer: Node, gold: Node, same: Same) -> bool | None:
    """Compare where a side is statements joined together; None: compare them as lists."""
    one, other = as_region(answer), as_region(gold)
    if one is not None and other is not None:
        first, second = names(answer), names(gold)
        # An interval has no name.
        if first and second and first != second:
            return False
        # Many write 'x < 1 and x > 3' for the union, which the literal reading leaves empty. The
        # gold's own 'and' is taken by its word.
        if not one and answer[0] == "and" and gold[0] != "and":
            one = as_region(("or", *answer[1:]))
        return one == other
    # A point is x = 1 and y = 2: equations are lists, but for the word 'or'.
    if "or" not in (answer[0], gold[0]) and (_is_point(answer) or _is_point(gold)):
        return None
    answer, gold = _in_pairs(answer), _in_pairs(gold)
    kinds = {answer[0], gold[0]}
    if kinds == {"and", "or"}:
        return False
    if kinds <= {"and", "or", "list"}:
        return _same_items(answer[1:], gold[1:], same)
    return None if "or" not in kinds else False


def _is_point(node: Node) -> bool:
    return node[0] == "and" and all(item[0] == "rel" and item[2] == ("=",) for item in node[1:])


def _in_pairs(node: Node) -> Node:
    """1 < x < y as 1 < x and x < y, also among the items of 'and'."""
    if node[0] == "rel" and len(node[2]) > 1 and _STATING.issuperset(node[2]):
        pairs = zip(pairwise(node[1]), node[2], strict=True)
        return ("and", *(("rel", sides, (relation,)) for sides, relation in pairs))
    if node[0] not in ("and", "list"):
        return node
    items: list[Node] = []
    for item in node[1:]:
        split = _in_pairs(item) if item[0] == "rel" else item
        items.extend(split[1:] if split[0] == "and" and item[0] == "rel" else (item,))
    return (node[0], *items)


def _same_items(one: tuple[Node, ...], other: tuple[Node, ...], same: Same) -> bool:
    if max(len(one), len(other)) > _MAX_ITEMS:
        return False
    return all(any(same(a, b) for b in other) for a in one) and all(
        any(same(a, b) for a in one) for b in other
    )
