"""What the files of the parser share: a tree's type, and the parser as its parts see it.

parse.py calls atoms.py and numerals.py, which call it back for what stands inside braces and
brackets. They know it as a Reader, so that imports go one way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from prime_core.verifiers.math.tokens import Token

# ("name", children...), where a child is a tree, a number or a text.
Node = tuple[Any, ...]


def nodes(node: Any) -> Iterator[Node]:
    """Every subtree, the tree itself first."""
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, tuple) and item:
            if isinstance(item[0], str):
                yield item
            stack.extend(item)


def substituted(node: Any, old: Node, new: Node) -> Any:
    """A tree with one subtree in place of another."""
    if not isinstance(node, tuple):
        return node
    return new if node == old else tuple(substituted(child, old, new) for child in node)


class Reader(Protocol):
    """A position among tokens, what is open there, and the rules that read on from it.

    position: of the next token. thousands: whether 1,234 outside brackets is one number.
    brackets, bars, sets: how many brackets, | and \\{ are open here.
    """

    position: int
    thousands: bool
    brackets: int
    bars: int
    sets: int

    def peek(self, ahead: int = 0) -> Token:
        """A token further on, the end token past the last."""

    def name(self, ahead: int = 0) -> str:
        """A token as it is written in rules; '' for numbers, letters, text."""

    def take(self) -> Token:
        """The next token, consumed."""

    def expect(self, name: str) -> None:
        """Consume this token or raise ParseError."""

    def items(self) -> Node:
        """Items with separators between them, up to what closes them."""

    def product(self) -> Node:
        """Factors, without a sum's signs between them."""

    def signed(self) -> Node:
        """A power with the signs before it."""

    def power(self) -> Node:
        """An atom with its postfix signs and its exponent."""

    def script(self) -> Node:
        r"""What a ^ governs."""
