r"""Derivatives as printed: dy/dx is a name, and no quotient from which d could be taken."""

from __future__ import annotations

from collections.abc import Iterator

from prime_core.verifiers.math.tree import Node

_SIGNS = (("sym", "d"), ("sym", "\\partial"))


def derivative(above: Node, below: Node) -> Node | None:
    r"""The name of \frac{dy}{dx}, \frac{d}{dx}, \frac{\partial^2 u}{\partial x \partial y}.

    None for any other fraction.
    """
    upper, lower = list(_factors(above)), list(_factors(below))
    sign = upper[0][1] if upper[0][0] == "pow" else upper[0]
    # Two factors below: \frac{d}{2} and \frac{d}{d + 1} are quotients.
    if sign not in _SIGNS or lower[0] != sign or len(lower) < 2 or len(upper) > 2:
        return None
    # Sorted: mixed derivatives do not depend on their order.
    names = [*map(str, upper), "over", *sorted(map(str, lower))]
    return ("sym", " ".join(names))


def _factors(node: Node) -> Iterator[Node]:
    if node[0] == "mul":
        yield from _factors(node[1])
        yield from _factors(node[2])
    else:
        yield node
