r"""Products in which order counts: \vec{a} \times \vec{b}, and \mathbb{Z} \times \mathbb{R}.

In: two factors' trees, of a \times between vectors or sets (normalise.py finds them). Out: a tree
of ordinary products in the factors' names and in second ones beside them, so that whatever
compares expressions compares these:

    a x b = a b' - b a',    A x B = A B'

The first is bilinear and changes its sign with the order of its factors, as the cross product does.
"""

from __future__ import annotations

from typing import Any

from prime_core.verifiers.math.evaluate import names
from prime_core.verifiers.math.tokens import TooLong
from prime_core.verifiers.math.tree import Node, nodes

# A factor stands in the product twice: nested, the tree would double each time.
_MAX_NODES = 2_000


def cross(one: Node, other: Node) -> Node:
    """The cross product of two vectors' names or sums. Raises TooLong."""
    _bounded(one, other)
    if not (names(one) and names(other)):
        return ("mul", one, other)
    return ("add", ("mul", one, _second(other)), ("neg", ("mul", other, _second(one))))


def cartesian(one: Node, other: Node) -> Node:
    """The product of two sets; of a set with itself its square. Raises TooLong."""
    _bounded(one, other)
    return ("mul", one, other if names(one) == names(other) else _second(other))


def _bounded(one: Node, other: Node) -> None:
    if sum(1 for tree in (one, other) for _ in nodes(tree)) > _MAX_NODES:
        raise TooLong("products of vectors within each other")


def _second(node: Any) -> Any:
    """The tree with a second name for each name."""
    if not isinstance(node, tuple):
        return node
    if node[:1] == ("sym",):
        return node if node[1] == "\\pi" else ("sym", f"{node[1]}'")
    return tuple(_second(child) for child in node)
