r"""The value of a tree at a point, in one of three arithmetics.

In: a tree of parse.py and a value for each name. Out: an exact fraction, a complex double, or a
complex number of 50 digits (mpmath). What cannot be had exactly raises Inexact; what would be too
large or too long raises TooLarge before any work is done: towers of powers, factorials, long sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from prime_core.verifiers.math import piecewise
from prime_core.verifiers.math.complexes import Double
from prime_core.verifiers.math.rationals import Exact, Inexact, TooLarge, TooMuchWork, Undefined
from prime_core.verifiers.math.tree import Node

MAX_TERMS = 400
_MAX_STEPS = 4_000


class NotANumber(ValueError):
    """The tree is a set, a text, an equation: nothing with a value."""


class Work:
    """Steps left in the comparison under way. They are counted, not timed: verdicts repeat."""

    ALLOWED = 60_000  # about a third of a second
    # Shared by every Evaluator, since one comparison makes many; compare() sets it anew.
    left = ALLOWED

    @classmethod
    def charge(cls, steps: int) -> None:
        """Take steps. Raises TooMuchWork when none are left."""
        cls.left -= steps
        if cls.left < 0:
            raise TooMuchWork(f"more than {cls.ALLOWED} steps")


class Evaluator:
    """Evaluates trees at one point. `steps` bounds the work of one evaluation."""

    def __init__(self, arithmetic: Exact | Double, point: Mapping[str, Any]) -> None:
        self.arithmetic = arithmetic
        self.point = dict(point)
        self.steps = 0

    def __call__(self, node: Node) -> Any:
        """Value of a tree. Raises Inexact, TooLarge, Undefined or NotANumber."""
        self.steps += 1
        if self.steps > _MAX_STEPS:
            raise TooLarge("too many steps")
        Work.charge(self.arithmetic.cost)
        rule = _RULES.get(node[0])
        if rule is None:
            raise NotANumber(node[0])
        value = rule(self, node)
        if isinstance(value, Fraction):  # long fractions are slow
            length = (value.numerator.bit_length() + value.denominator.bit_length()) >> 7
            self.steps += length
            Work.charge(length)
        return value


def _number(e: Evaluator, node: Node) -> Any:
    return e.arithmetic.number(node[1])


def _name(e: Evaluator, node: Node) -> Any:
    name = node[1]
    # Before the constants: \sum_{i=1}^n binds i, which is no imaginary unit there.
    if name in e.point:
        return e.point[name]
    if name in ("e", "i", "\\pi"):
        return e.arithmetic.constant(name)
    raise NotANumber(name)


def _add(e: Evaluator, node: Node) -> Any:
    total = e(node[1])
    for term in node[2:]:
        total = total + e(term)
    return e.arithmetic.checked(total)


def _multiply(e: Evaluator, node: Node) -> Any:
    return e.arithmetic.checked(e(node[1]) * e(node[2]))


def _divide(e: Evaluator, node: Node) -> Any:
    return e.arithmetic.divide(e(node[1]), e(node[2]))


def _power(e: Evaluator, node: Node) -> Any:
    return e.arithmetic.power(e(node[1]), e(node[2]))


def _root(e: Evaluator, node: Node) -> Any:
    index = e(node[1])
    if index != 2 and index == e.arithmetic.number(int(_real(index))):
        return e.arithmetic.root(e(node[2]), int(_real(index)))
    return e.arithmetic.power(e(node[2]), e.arithmetic.divide(e.arithmetic.number(1), index))


def _real(value: Any) -> float:
    real = value.real if isinstance(value, complex) else value
    # mpmath's numbers are not complex to isinstance(), but have a .real as well.
    real = getattr(real, "real", real)
    if not -1e6 < real < 1e6:
        raise TooLarge("an index")
    return float(real)


def _function(e: Evaluator, node: Node) -> Any:
    if node[1] in ("gcd", "lcm", "min", "max"):
        items = node[2][2:] if node[2][0] == "seq" else node[2][1:]
        return e.arithmetic.several(node[1], [e(item) for item in items])
    return e.arithmetic.function(node[1], e(node[2]))


def _logarithm(e: Evaluator, node: Node) -> Any:
    """Logarithm to a stated base: ln x / ln base."""
    base, value = e(node[1]), e(node[2])
    return e.arithmetic.logarithm(value, base)


def _factorial(e: Evaluator, node: Node) -> Any:
    return e.arithmetic.function("factorial", e(node[1]))


def _binomial(e: Evaluator, node: Node) -> Any:
    return e.arithmetic.binomial(e(node[1]), e(node[2]))


def _percent(e: Evaluator, node: Node) -> Any:
    return e.arithmetic.divide(e(node[1]), e.arithmetic.number(100))


def _degrees(e: Evaluator, node: Node) -> Any:
    return e.arithmetic.divide(e(node[1]) * e.arithmetic.constant("\\pi"), e.arithmetic.number(180))


def _modulo(e: Evaluator, node: Node) -> Any:
    return e.arithmetic.several("mod", [e(node[1]), e(node[2])])


def _call(e: Evaluator, node: Node) -> Any:
    """An unknown function: some smooth map that depends on its name, the same on both sides."""
    if node[1] == "'":
        raise NotANumber("a derivative")
    items = node[2][2:] if node[2][0] == "seq" else (node[2],)
    # Not hash(), which differs between processes: verdicts have to repeat.
    seed = sum(ord(c) for c in node[1])
    angle = e.arithmetic.number(Fraction(seed, 97))
    for i, item in enumerate(items):
        angle = angle + e(item) * e.arithmetic.number(Fraction(3 * i + 7, 11))
    # + 2: never zero at real points, so that 1/f(x) has a value there.
    return e.arithmetic.function("sin", angle) + e.arithmetic.number(2)


def _series(e: Evaluator, node: Node) -> Any:
    """A finite sum or product over whole numbers."""
    kind, index, start, stop, body = node
    first, last = _real(e(start)), _real(e(stop))
    if first != int(first) or last != int(last):
        raise Inexact("bounds that are not whole numbers")
    # Before the first term. Steps would stop it too, but only after they are spent.
    if last - first > MAX_TERMS:
        raise TooLarge(f"a {kind} of more than {MAX_TERMS} terms")
    # Sums nest with one name. An error leaves the index bound: nobody asks this Evaluator again.
    outer = e.point.get(index)
    total = e.arithmetic.number(0 if kind == "sum" else 1)
    for k in range(int(first), int(last) + 1):
        e.point[index] = e.arithmetic.number(k)
        value = e(body)
        total = e.arithmetic.checked(total + value if kind == "sum" else total * value)
    if outer is None:
        e.point.pop(index, None)
    else:
        e.point[index] = outer
    return total


def _based(e: Evaluator, node: Node) -> Any:
    """Digits in a base: 1011_2 is eleven."""
    return e.arithmetic.number(based_value(node[1], node[2]))


def based_value(digits: str, base_text: str) -> Fraction:
    """Exact value of digits in a base from 2 to 36. Raises Undefined."""
    # Sliced before int(): a subscript may have thousands of digits. int() knows bases to 36.
    if not base_text.isdigit() or not 2 <= int(base_text[:4]) <= 36 or len(digits) > 400:
        raise Undefined(f"base {base_text}")
    base = int(base_text)
    whole, _, decimals = digits.partition(".")
    try:
        return Fraction(int(whole + decimals, base), base ** len(decimals))
    except ValueError:
        raise Undefined(f"{digits} in base {base}") from None


def _ratio(e: Evaluator, node: Node) -> Any:
    if len(node) != 3:
        raise NotANumber("a ratio of several numbers")
    return e.arithmetic.divide(e(node[1]), e(node[2]))


def _too_long(_: Evaluator, node: Node) -> Any:
    raise TooLarge(node[1])


_RULES: dict[str, Callable[[Evaluator, Node], Any]] = {
    "num": _number,
    "sym": _name,
    "add": _add,
    "mul": _multiply,
    "div": _divide,
    "neg": lambda e, node: -e(node[1]),
    "pow": _power,
    "root": _root,
    "fun": _function,
    "log": _logarithm,
    "fact": _factorial,
    "binom": _binomial,
    "pct": _percent,
    "deg": _degrees,
    "mod": _modulo,
    "call": _call,
    "sum": _series,
    "prod": _series,
    "based": _based,
    "ratio": _ratio,
    "piecewise": lambda e, node: piecewise.value(node, e, NotANumber),
    "toolong": _too_long,
    "qty": lambda e, node: e(node[1]),
}


def names(node: Node) -> frozenset[str]:
    """Names in a tree that stand for variables: all but e, i, pi and the indices of sums."""
    found: set[str] = set()
    stack: list[Any] = [node]
    bound: set[str] = set()
    while stack:
        item = stack.pop()
        if not isinstance(item, tuple) or not item:
            continue
        if item[0] == "sym":
            found.add(item[1])
        elif item[0] in ("sum", "prod"):
            bound.add(item[1])
        stack.extend(item[1:] if isinstance(item[0], str) else item)
    return frozenset(found - bound - {"e", "i", "\\pi"})


def is_finite(value: Any) -> bool:
    """Whether a float or complex value is a number at all."""
    if isinstance(value, complex):
        return math.isfinite(value.real) and math.isfinite(value.imag)
    return not isinstance(value, float) or math.isfinite(value)
