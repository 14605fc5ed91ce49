r"""Readings of one side that the other side decides.

C_{10}^3 counts where the gold is a number, and is a power where the gold has a C of its own;
3i - 2j + k is a vector where the gold is one. In: the answer's tree and the gold's. Out: both, with
such notations rewritten. Nothing here is done on one side's word alone.
"""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from typing import Any

from prime_core.verifiers.math import compound, counting, matrices, sequences
from prime_core.verifiers.math.evaluate import names
from prime_core.verifiers.math.intervals import as_region
from prime_core.verifiers.math.rationals import TooLarge
from prime_core.verifiers.math.tree import Node, substituted
from prime_core.verifiers.math.values import CannotTell, constant, same_value

_WHOLE_NUMBERS = frozenset(["mathbb_Z", "mathbb_N", "mathbb_Z+", "mathbb_Z0+"])
_UNIT_LETTERS = frozenset("mgshLNJWVKl")
_MAX_PARTS = 20
_LISTS = frozenset(["list", "and"])
_DOTS: Node = ("sym", "...")
_VECTOR_SYMBOLS = frozenset(["j", "k", "T", "t"])
_UNIT_VECTORS = ("i", "j", "k")


def adapted(answer: Node, gold: Node) -> tuple[Node, Node]:
    """Both sides, each in the reading that the other one asks for."""
    kinds, symbols = _contents(answer)
    other_kinds, other_symbols = _contents(gold)
    if "..." in symbols and "..." in other_symbols:
        answer, gold = _shortened(answer), _shortened(gold)
    if _may_count(kinds, symbols) and not _may_count(set(), other_symbols):
        answer = answer if gold[0] == "seq" else counting.counted(answer)
    elif _may_count(other_kinds, other_symbols) and not _may_count(set(), symbols):
        gold = gold if answer[0] == "seq" else counting.counted(gold)
    kinds |= other_kinds
    if "sum" in kinds or "prod" in kinds:
        heads = sequences.varying(answer) | sequences.varying(gold)
        answer = sequences.with_functions(answer, heads)
        gold = sequences.with_functions(gold, heads)
    if "based" in kinds and "rel" in kinds:
        answer, gold = _in_base(answer, gold), _in_base(gold, answer)
    symbols |= other_symbols
    if "matrix" in kinds or ("seq" in kinds and (symbols & _VECTOR_SYMBOLS or "add" in kinds)):
        answer, gold = _vectors(answer, gold)
    elif "div" in kinds and symbols & _UNIT_LETTERS:
        answer, gold = _with_units(answer, gold), _with_units(gold, answer)
    if "rel" in kinds and not kinds.isdisjoint(("list", "builder")):
        answer = _same_index(answer, gold)
    if "qty" in kinds or "compound" in kinds:
        answer, gold = _quantities(answer, gold)
    if "union" in kinds:
        answer, gold = _united(answer, gold), _united(gold, answer)
    return answer, gold


def _contents(node: Node) -> tuple[set[str], set[str]]:
    """The kinds of all subtrees, and all names: in one walk, since every comparison asks."""
    kinds: set[str] = set()
    symbols: set[str] = set()
    stack: list[Any] = [node]
    while stack:
        item = stack.pop()
        if not isinstance(item, tuple) or not item:
            continue
        head = item[0]
        if head == "sym":
            symbols.add(item[1])
        elif isinstance(head, str):
            kinds.add(head)
        stack.extend(item)
    return kinds, symbols


def _may_count(kinds: set[str], symbols: set[str]) -> bool:
    """Whether C, A or P is a name here, or a binomial has several lower members."""
    if "binom" in kinds and ("list" in kinds or "set" in kinds):
        return True
    return any(name[0] in counting.LETTERS for name in symbols)


def _quantities(answer: Node, gold: Node) -> tuple[Node, Node]:
    """3 hours and 30 minutes as one quantity; counts of several things by what is counted."""
    if answer[0] in _LISTS and gold[0] in _LISTS:
        own, wanted = (
            compound.labelled(*pair) for pair in ((answer[1:], gold[1:]), (gold[1:], answer[1:]))
        )
        return (
            (answer, gold) if own is None or wanted is None else (("list", *own), ("list", *wanted))
        )
    return _joined(answer), _joined(gold)


def _joined(node: Node) -> Node:
    if node[0] not in _LISTS:
        return node
    # 1 hour 15 minutes and 30 seconds
    parts = [part for item in node[1:] for part in (item[1:] if item[0] == "compound" else (item,))]
    return compound.joined(parts) or node


def _united(node: Node, other: Node) -> Node:
    r"""x \in (2, 3) or x \in (5, 7] as the union of both, where the other side is a union."""
    if other[0] != "union" or node[0] not in ("list", "or", "and") or len(node) > _MAX_PARTS:
        return node
    unknowns = {_unknown(item) for item in node[1:]}
    # x in the one and y in the other are two statements.
    if len(unknowns) != 1:
        return node
    parts = [item[1][1] if item[0] == "rel" and item[2] == ("in",) else item for item in node[1:]]
    regions = [as_region(part) for part in parts]
    if not all(regions):
        return node
    # A loose 'and' lists the parts of a union; a strict one leaves what both have.
    both = reduce(lambda a, b: ("inter", a, b), parts)
    if node[0] == "and" and as_region(both):
        return both
    return reduce(lambda a, b: ("union", a, b), parts)


def _unknown(item: Node) -> frozenset[str]:
    """The name of x in S and of x > 5; of a bare interval none."""
    return names(item) - {"mathbb_R"}


def _in_base(node: Node, other: Node) -> Node:
    """Of 52_8 = 42_{10} the numeral in the other side's base, where all of them are equal."""
    if (
        node[0] != "rel"
        or set(node[2]) != {"="}
        or any(m[0] not in ("based", "num") for m in node[1])
    ):
        return node
    if len({constant(member) for member in node[1]}) != 1:
        return node
    wanted = other[2] if other[0] == "based" else None
    same_base = (m for m in node[1] if m[0] == "based" and m[2] == wanted)
    return next(same_base, node if wanted else node[1][0])


def _vectors(answer: Node, gold: Node) -> tuple[Node, Node]:
    """Matrices computed, and sums of unit vectors as tuples where the other side is one."""
    answer, gold = matrices.computed(answer), matrices.computed(gold)
    answer, gold = _identity(answer, gold), _identity(gold, answer)
    return _components(answer, gold), _components(gold, answer)


def _identity(node: Node, other: Node) -> Node:
    """I or I_n as the matrix, where the other side is one of that size."""
    if (
        other[0] != "matrix"
        or node[0] not in ("sym", "mul", "neg", "add")
        or len(other[1:]) != len(other[1])
    ):
        return node
    size = len(other[1])
    one = matrices.identity(size)
    for name in ("I", f"I_{size}", "E", f"E_{size}"):
        node = substituted(node, ("sym", name), ("matrix", *one))
    return matrices.computed(node)


def _components(node: Node, other: Node) -> Node:
    """3i - 2j + k as (3, -2, 1), where the other side is a column or a tuple."""
    size = _vector_size(other)
    if size not in (2, 3) or node[0] not in ("add", "mul", "neg", "sym"):
        return node
    # i alone may be the imaginary unit.
    if not {"j", "k"} & names(node):
        return node
    zero, one = ("num", 0), ("num", 1)
    parts: list[Node] = []
    total: Node = zero
    for place, name in enumerate(_UNIT_VECTORS):
        part = node
        for letter in _UNIT_VECTORS:
            part = substituted(part, ("sym", letter), one if letter == name else zero)
        if place < size:
            parts.append(part)
        total = ("add", total, ("mul", ("sym", f"unit {name}"), part))
    free = node
    for name in _UNIT_VECTORS:
        free = substituted(free, ("sym", name), ("sym", f"unit {name}"))
    # Linear in them, and with nothing beside them.
    try:
        linear = same_value(free, total) and (size == 3 or "k" not in names(node))
    except (CannotTell, TooLarge, ValueError):
        return node
    return ("seq", "()", *parts) if linear else node


def _vector_size(node: Node) -> int:
    if node[0] == "seq":
        return len(node) - 2
    if node[0] == "matrix":
        return len(node) - 1 if len(node[1]) == 1 else len(node[1]) if len(node) == 2 else 0
    return 0


def _with_units(node: Node, other: Node) -> Node:
    r"""\frac{3 m}{4 s} as 3/4 m/s, where the other side has no names in it."""
    if node[0] != "div" or names(other):
        return node
    pieces = []
    for part in node[1:]:
        if part[0] == "qty":
            pieces.append((part[1], part[2]))
            continue
        if part[0] != "mul" or part[2][0] != "sym" or part[2][1] not in _UNIT_LETTERS:
            return node
        if constant(part[1]) is None:
            return node
        pieces.append((part[1], part[2][1]))
    (above, unit), (below, per) = pieces
    return node if unit == per else ("qty", ("div", above, below), f"{unit} / {per}")


def _same_index(answer: Node, gold: Node) -> Node:
    r"""2n\pi, n \in Z in the gold's letter: 2k\pi, k \in Z."""
    own, wanted = _family_index(answer), _family_index(gold)
    if own is None or wanted is None or own == wanted:
        return answer
    if own in names(gold) or wanted in names(answer):
        return answer
    result: Node = substituted(answer, ("sym", own), ("sym", wanted))
    return result


def _family_index(node: Node) -> str | None:
    """The k of an item k in Z; None where there is not exactly one."""
    found = [
        item[1][0][1]
        for item in (node[1:] if node[0] in ("list", "builder") else ())
        if item[0] == "rel"
        and item[2] == ("in",)
        and item[1][0][0] == "sym"
        and item[1][1][0] == "sym"
        and item[1][1][1] in _WHOLE_NUMBERS
    ]
    return found[0] if len(found) == 1 else None


def _shortened(node: Any) -> Any:
    """1, 2, 3, ..., n as 1, 2, ..., n: of an arithmetic progression two members and the last."""
    if not isinstance(node, tuple):
        return node
    node = tuple(_shortened(child) for child in node)
    if not node or node[0] not in ("list", "set", "seq") or node.count(_DOTS) != 1:
        return node
    start = 2 if node[0] == "seq" else 1
    place = node.index(_DOTS)
    before, after = list(node[start:place]), list(node[place + 1 :])
    if len(before) < 2 or not _steps_alike(before, before[0], before[1]):
        return node
    if len(after) > 1 and _steps_alike([before[0], before[1]], *after[:2]):
        after = after[-1:] if _steps_alike(after, before[0], before[1]) else after
    return (*node[:start], *before[:2], _DOTS, *after)


def _steps_alike(items: list[Node], first: Node, second: Node) -> bool:
    """Whether neighbours differ as the second differs from the first."""
    try:
        return all(same_value(("add", b, first), ("add", a, second)) for a, b in pairwise(items))
    except ValueError:
        return False
