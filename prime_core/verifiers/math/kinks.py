r"""Where expressions with kinks have to be compared: on both sides of every kink, near and far.

|x - 5| and 5 - x agree at every point between -3 and 3, so the lemma by which values.py compares
polynomials says nothing of them. In: two trees. Out: points along one variable at a time, small
and large, and between and beyond the zeros of what stands inside |.|, max, min, roots and steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Any

from prime_core.verifiers.math.evaluate import names
from prime_core.verifiers.math.tree import Node

Point = dict[str, Fraction]
# A tree's value along one variable; None where it has none that is real.
Along = Callable[[Node, Fraction], float | None]

# 0.013 to 3,300 and on to 2 * 10^12, none of them round.
_SIZES = [Fraction(37 * 4**k, 2_900) for k in (*range(10), 12, 15, 19, 24)]
_GRID = [Fraction(0), *_SIZES, *(-size for size in _SIZES)]
_MAX_VARIABLES = 4
_MAX_ZEROS = 24
# Any parabola is known by three of its points; the others tell whether it is one.
_PROBES = ((0, 1, -1, 5, -7), (Fraction(1, 3), Fraction(7, 5), Fraction(-11, 7), 6, -5))
_STEPS = frozenset(["floor", "ceil"])
_INVERSES = frozenset([
    "arcsin", "arccos", "arctan", "arccot", "arcsec", "arccsc", "asin", "acos", "atan",
])  # fmt: skip


def is_kinked(node: Node) -> bool:
    """Whether a node, and not what is inside it, has kinks or jumps in a variable."""
    kind = node[0]
    if kind == "fun":
        bends = node[1] in ("abs", "min", "max", "sgn", "sign", "gcd", "lcm")
        return (bends or node[1] in _STEPS or node[1] in _INVERSES) and bool(names(node))
    if kind == "root":
        return bool(names(node[2]))
    if kind == "pow" and node[2][0] in ("num", "div", "neg"):
        exponent = node[2]
        whole = exponent[0] == "num" and exponent[1].denominator == 1
        return not whole and not names(exponent) and bool(names(node[1]))
    return kind in ("mod", "piecewise")


def points(
    trees: tuple[Node, Node], bases: list[Point], along: Callable[[Point, str], Along]
) -> Iterator[Point]:
    """Points at which both trees have to agree.

    bases: a value for each variable; one is varied at a time, the others stay there.
    along: a base and a variable give the value of a tree along that variable.
    """
    bends = list(dict.fromkeys(bend for tree in trees for bend in _bends(tree)))[:_MAX_ZEROS]
    for variable in sorted(bases[0])[:_MAX_VARIABLES]:
        for base in bases if len(bases[0]) > 1 else bases[:1]:
            value = along(base, variable)
            zeros = sorted({zero for bend in bends for zero in _zeros(bend, value)})[:_MAX_ZEROS]
            for place in [*_around(zeros), *_GRID]:
                yield {**base, variable: place}


def _around(zeros: list[Fraction]) -> Iterator[Fraction]:
    """The zeros, what is between them, and what is just and far beyond them."""
    if not zeros:
        return
    yield from zeros
    for low, high in pairwise(zeros):
        yield low + (high - low) * Fraction(13, 29)
    for step in (Fraction(1, 7), Fraction(17, 3)):
        yield zeros[0] - step
        yield zeros[-1] + step
    yield zeros[0] - abs(zeros[0]) * Fraction(3, 2)
    yield zeros[-1] + abs(zeros[-1]) * Fraction(3, 2)


def _bends(tree: Any) -> Iterator[Node]:
    """Expressions at whose zeros a tree has kinks or jumps."""
    stack = [tree]
    while stack:
        node = stack.pop()
        if not isinstance(node, tuple) or not node:
            continue
        stack.extend(node)
        if not isinstance(node[0], str) or not is_kinked(node):
            continue
        if node[0] == "piecewise":
            for _, condition in node[1:]:
                yield from _sides(condition)
        elif node[0] == "fun" and node[1] in ("min", "max"):
            items = node[2][2:] if node[2][0] == "seq" else node[2][1:]
            for one, other in combinations(items[:5], 2):
                yield ("add", one, ("neg", other))
        elif node[0] == "mod" or (node[0] == "fun" and node[1] in _STEPS):
            inside = ("div", node[1], node[2]) if node[0] == "mod" else node[2]
            for step in (-1, 0, 1):
                yield ("add", inside, ("num", Fraction(step)))
        else:
            yield from _factors(node[1] if node[0] == "pow" else node[2])


def _factors(node: Node) -> Iterator[Node]:
    """A product's factors and a power's base, whose signs the whole may hide: (x - 4)^2."""
    if node[0] in ("mul", "div"):
        yield from _factors(node[1])
        yield from _factors(node[2])
    elif node[0] in ("neg", "pow"):
        yield from _factors(node[1])
    elif names(node):
        yield node


def _sides(condition: Any) -> Iterator[Node]:
    """Differences of the sides of every relation in a condition."""
    stack = [condition]
    while stack:
        node = stack.pop()
        if isinstance(node, tuple) and node:
            if node[0] == "rel":
                for one, other in pairwise(node[1]):
                    yield ("add", one, ("neg", other))
            else:
                stack.extend(node)


def _zeros(bend: Node, value: Along) -> list[Fraction]:
    """Zeros and vertex of an expression that is a straight line or a parabola; else none."""
    for probes in _PROBES:
        heights = [value(bend, Fraction(probe)) for probe in probes]
        if any(height is None for height in heights):
            continue
        return _parabola([float(p) for p in probes], [h for h in heights if h is not None])
    return []


def _parabola(at: list[float], heights: list[float]) -> list[Fraction]:
    (t0, t1, t2), (h0, h1, h2) = at[:3], heights[:3]
    # Newton's divided differences.
    first, second = (h1 - h0) / (t1 - t0), (h2 - h1) / (t2 - t1)
    a = (second - first) / (t2 - t0)
    b = first - a * (t0 + t1)
    c = h0 - (b + a * t0) * t0
    size = max(map(abs, heights), default=0.0)
    for t, height in zip(at[3:], heights[3:], strict=True):
        if abs((a * t + b) * t + c - height) > 1e-9 * max(size, 1e-3):
            return []
    if abs(a) <= 1e-12 * max(abs(b), abs(c)):
        return [_short(-c / b)] if b else []
    vertex, square = -b / (2 * a), (b * b - 4 * a * c) / (4 * a * a)
    if square <= 1e-12 * max(1.0, vertex * vertex):
        return [_short(vertex)]
    return [_short(vertex - square**0.5), _short(vertex), _short(vertex + square**0.5)]


def _short(value: float) -> Fraction:
    """The zero itself where it is a short fraction: only there are both sides of a jump decided."""
    return Fraction(value).limit_denominator(10_000) if abs(value) < 1e15 else Fraction(0)
