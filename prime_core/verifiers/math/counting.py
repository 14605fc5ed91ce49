r"""Notations of counting: C_{10}^3, C(10, 3), P(5, 2), A_5^2, 10C3, \binom{12}{4,4,4}.

In: a tree of parse.py, where C, A and P may as well be names. Out: the tree with what these
notations count in place of them. Only to be asked for where the other side has no such name.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import reduce
from typing import Any

from prime_core.verifiers.math.parse import parse
from prime_core.verifiers.math.tree import Node

LETTERS = frozenset("CAP")


def counted(node: Any) -> Any:
    """The tree with numbers of choices for the notations."""
    if not isinstance(node, tuple) or not node:
        return node
    number = _counted(node) if isinstance(node[0], str) else None
    if number is not None:
        return number
    return tuple(counted(child) for child in node)


def _counted(node: Node) -> Node | None:
    if node[0] == "binom" and node[2][0] in ("list", "set"):
        return _multinomial(node[1], node[2][1:])
    if node[0] == "pow" and node[1][0] == "sym":  # C_{10}^{3}
        letter, _, index = node[1][1].partition("_")
        below = _index(index)
        return _choices(letter, below, node[2]) if letter in LETTERS and below else None
    if node[0] != "mul":
        return None
    head, tail = node[1], node[2]
    # 2C(10, 3) is read from the left: (2C)(10, 3).
    if head[0] == "mul" and head[2] in [("sym", letter) for letter in LETTERS]:
        inner = _counted(("mul", head[2], tail))
        return inner and ("mul", counted(head[1]), inner)
    if head[0] == "sym" and head[1] in LETTERS and tail[0] == "seq" and len(tail) == 4:
        return _choices(head[1], tail[2], tail[3], ordered_numbers=True)
    if head[0] == "num" and tail[0] == "sym" and re.fullmatch(r"[CP]_\d+", tail[1]):  # 10C3
        return _choices(tail[1][0], head, ("num", Fraction(tail[1][2:])), ordered_numbers=True)
    return None


def _index(text: str) -> Node | None:
    """An index as a tree: 10, n, n+1, 2n."""
    index = parse(text) if text else None
    return index if index is not None and index[0] in ("num", "sym", "add", "mul") else None


def _choices(letter: str, n: Node, k: Node, ordered_numbers: bool = False) -> Node | None:
    """Combinations (C), or arrangements (A, P) of k out of n."""
    numbers = n[0] == k[0] == "num"
    # C_3^{10}: some write n above. With names the order is that of C_n^k.
    if numbers and n[1] < k[1] and not ordered_numbers:
        n, k = k, n
    if letter == "C":
        return ("binom", n, k)
    if numbers and n[1] < k[1]:
        return None
    return ("div", ("fact", n), ("fact", ("add", n, ("neg", k))))


def _multinomial(n: Node, parts: tuple[Node, ...]) -> Node | None:
    """n! / (a! b! c!), where the parts add up to n."""
    if n[0] != "num" or any(part[0] != "num" for part in parts):
        return None
    if sum(part[1] for part in parts) != n[1]:
        return None
    below: Node = reduce(lambda a, b: ("mul", a, b), (("fact", part) for part in parts))
    return ("div", ("fact", n), below)
