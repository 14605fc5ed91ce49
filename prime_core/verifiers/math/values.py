"""Whether two trees have the same value, at every point or as constants.

Fractions decide exactly. Otherwise both sides are evaluated in doubles at fixed pseudo-random
points (Schwartz 1980, Zippel 1979: different polynomials rarely agree at a random point), and an
agreement is confirmed with 50 digits, so that near-identities are not equal.
"""

from __future__ import annotations

import zlib
from fractions import Fraction
from functools import lru_cache
from typing import Any

from prime_core.verifiers.math import kinks
from prime_core.verifiers.math.complexes import Double, Precise
from prime_core.verifiers.math.evaluate import Evaluator, NotANumber, Work, is_finite, names
from prime_core.verifiers.math.rationals import Exact, Inexact, TooLarge, Undefined
from prime_core.verifiers.math.tree import Node

Point = dict[str, Fraction]

_EXACT = Exact()
# A coordinate has 2,700 values: unequal polynomials agree at three points with a probability of
# at most (degree / 2700)^3, by the lemma above.
_NUM_EXACT_POINTS = 3
_NUM_POINTS = 14
# The names by which people mean whole numbers; for an x they would make sin(pi x) zero.
_INTEGER_NAMES = frozenset("nmkjlrNMK")
_TRIGONOMETRIC = frozenset(["sin", "cos", "tan", "floor", "ceil"])
# Not TooLarge: where work is refused there is no verdict from the remaining points.
_FAILURES = (Inexact, Undefined, ZeroDivisionError, OverflowError, ValueError)


class CannotTell(ValueError):
    """Neither equal nor unequal could be established."""


def same_value(one: Node, other: Node) -> bool:
    """Whether two expressions are equal. Raises CannotTell, TooLarge or NotANumber."""
    if one == other:
        return True
    variables = names(one) | names(other)
    stepped = bool(variables) and _mentions(one, other, _is_stepped)
    if stepped and not _at_whole_numbers(one, other, variables):
        return False  # between whole numbers close to zero, all steps agree
    whole = stepped and variables <= _INTEGER_NAMES
    # Near zero |x - 5| is 5 - x.
    bent = bool(variables) and (stepped or _mentions(one, other, kinks.is_kinked))
    if bent and not _at_kinks(one, other, variables, whole):
        return False
    if whole:
        return True
    exact = _exactly(one, other, variables)
    if exact is not None:
        return exact
    if _numerically(one, other, variables):
        return True
    if not variables or not variables <= _INTEGER_NAMES:
        return False
    return _mentions(one, other, _is_whole) and _at_whole_numbers(one, other, variables)


def constant(node: Node) -> Fraction | float | None:
    """A real constant's value, exact where possible; None for anything else."""
    try:
        return Evaluator(_EXACT, {})(node)
    except (*_FAILURES, TooLarge):
        pass
    try:
        value = Evaluator(Double(), {})(node)
    except (*_FAILURES, TooLarge):
        return None
    return value.real if _is_real(value) and is_finite(value) else None


def _exactly(one: Node, other: Node, variables: frozenset[str]) -> bool | None:
    """Equal or not by fractions; None where a side is not a fraction."""
    agreements = 0
    for attempt in range(2 * _NUM_EXACT_POINTS if variables else 1):
        evaluate = Evaluator(_EXACT, point(variables, attempt))
        try:
            if evaluate(one) != evaluate(other):
                return False
        except NotANumber:
            raise
        except _FAILURES as error:
            # A pole: another point may have a value. Without variables there is no other.
            if isinstance(error, Undefined) and variables:
                continue
            return None
        agreements += 1
        if agreements == _NUM_EXACT_POINTS or not variables:
            return True
    return None


def _numerically(one: Node, other: Node, variables: frozenset[str]) -> bool:
    """Agreement in doubles where both are real throughout, else at complex values."""
    if not _mentions(one, other, _is_bare_log):
        return _agree(one, other, variables, None)
    # \log is natural in one book and decimal in another; on both sides it is the same.
    return any(_agree(one, other, variables, base) for base in (None, 10))


def _agree(one: Node, other: Node, variables: frozenset[str], log_base: int | None) -> bool:
    arithmetic = Double(log_base)
    real = weak = defined = 0
    witness: Point | None = None
    for attempt in range(_NUM_POINTS if variables else 1):
        where = point(variables, attempt)
        try:
            # Set by any operation on the way, also where the result is real again: sqrt(-2)^2.
            arithmetic.left_reals = False
            left, right = _both(arithmetic, where, one, other)
        except NotANumber:
            raise
        except _FAILURES:
            continue
        defined += 1
        agree = _close(left, right, 1e-9)
        # Off the reals, equal expressions may lie on different branches of a root or logarithm:
        # such points count only where there is no real one.
        if _is_real(left) and _is_real(right) and not arithmetic.left_reals:
            if not agree:
                return False
            real += 1
        elif agree:
            weak += 1
        else:
            weak -= _NUM_POINTS  # outweighs every agreement
        witness = witness or (where if agree else None)
        if real == 4:
            break
    if not defined and not variables:
        return False  # 1/0 equals nothing but its own text
    if not defined:
        raise CannotTell("no point at which both sides have a value")
    # Two real points, where there are two: a single one may agree by accident.
    if witness is None or not (real >= min(2, defined) or (real == 0 and weak > 0)):
        return False
    return _confirmed(one, other, witness, log_base)


def _confirmed(
    one: Node, other: Node, where: Point, log_base: int | None, tolerance: float = 1e-40
) -> bool:
    """Agreement to 40 digits at a point, or to what is tolerated."""
    try:
        left, right = _both(_precise(log_base), where, one, other)
    except _FAILURES:
        return True  # what cannot be had in 50 digits is left as doubles found it
    return _close(left, right, tolerance)


@lru_cache(maxsize=4)
def _precise(log_base: int | None) -> Precise:
    return Precise(log_base)


def _both(arithmetic: Double, where: Point, one: Node, other: Node) -> tuple[Any, Any]:
    evaluate = Evaluator(
        arithmetic, {name: arithmetic.number(value) for name, value in where.items()}
    )
    left, right = evaluate(one), evaluate(other)
    if not (is_finite(left) and is_finite(right)):
        raise Undefined("not finite")
    return left, right


def _close(left: Any, right: Any, tolerance: float) -> bool:
    # Relative, but near zero absolute: the rounding errors of a difference that should be 0 are not
    # small beside it.
    return bool(abs(left - right) <= tolerance * max(abs(left), abs(right), 1e-3))


def _is_real(value: Any) -> bool:
    return bool(abs(value.imag) <= 1e-9 * (1 + abs(value.real)))


@lru_cache(maxsize=2048)
def _coordinate(name: str, attempt: int) -> Fraction:
    """A fixed pseudo-random fraction between 0.3 and 3, of either sign at odd attempts."""
    seed = zlib.crc32(f"{name}/{attempt}".encode())  # hash() differs between processes
    size = Fraction(300 + seed % 2700, 1009)
    # Every second point has positive coordinates alone, where roots and logarithms are real.
    return -size if attempt % 2 and seed >> 16 & 1 else size


def point(variables: frozenset[str], attempt: int) -> Point:
    """Where both sides are compared: the same in every process."""
    return {name: _coordinate(name, attempt) for name in variables}


def _at_whole_numbers(one: Node, other: Node, variables: frozenset[str]) -> bool:
    """Agreement wherever both are defined on whole numbers, for n!, (-1)^n and their like."""
    agreements = 0
    for attempt in range(40):
        # Large numbers part floors, small ones keep n^n and factorials within a double.
        below = (80, 14, 80, 14, 5_000)[attempt % 5]
        where = {
            name: Fraction(1 + zlib.crc32(f"{name}|{attempt}".encode()) % below)
            for name in variables
        }
        agree = _agree_at(one, other, where)
        if agree is False:
            return False
        agreements += agree is True
    return agreements >= 6


def _agree_at(one: Node, other: Node, where: Point) -> bool | None:
    """Whether both sides agree at a point; None where one has no value there."""
    # Remainders and divisors have values among fractions alone.
    try:
        evaluate = Evaluator(_EXACT, where)
        return bool(evaluate(one) == evaluate(other))
    except (*_FAILURES, TooLarge):
        pass
    try:
        left, right = _both(Double(), where, one, other)
    except (*_FAILURES, TooLarge):
        return None
    return _close(left, right, 1e-9)


def _at_kinks(one: Node, other: Node, variables: frozenset[str], whole: bool) -> bool:
    """Whether no point around the kinks, whole numbers if so wished, shows a difference."""
    near = point(variables, 0)
    far = {name: 40 * value for name, value in point(variables, 1).items()}
    # What is left after this is for the comparison itself.
    enough = Work.left // 3
    for where in kinks.points((one, other), [near, far], _along):
        if Work.left < enough:
            break
        if whole:
            where = {name: Fraction(max(1, round(value))) for name, value in where.items()}
        if _differ(one, other, where):
            return False
    return True


def _along(base: Point, variable: str) -> kinks.Along:
    """Values of trees along one variable, the others as in base."""

    def value(tree: Node, place: Fraction) -> float | None:
        arithmetic = Double()
        at = {**base, variable: place}
        evaluate = Evaluator(arithmetic, {n: arithmetic.number(v) for n, v in at.items()})
        try:
            height = evaluate(tree)
        except (*_FAILURES, TooLarge):  # NotANumber is a ValueError
            return None
        return height.real if _is_real(height) and is_finite(height) else None

    return value


def _differ(one: Node, other: Node, where: Point) -> bool:
    """Whether both sides are real at a point, and not the same."""
    try:
        evaluate = Evaluator(_EXACT, where)
        return bool(evaluate(one) != evaluate(other))
    except (*_FAILURES, TooLarge):
        pass
    arithmetic = Double()
    try:
        left, right = _both(arithmetic, where, one, other)
    except (*_FAILURES, TooLarge):
        return False
    if arithmetic.left_reals or not (_is_real(left) and _is_real(right)):
        return False
    # Far from zero doubles lose digits in differences: only 50 digits say that two values differ.
    return not _close(left, right, 1e-9) and not _confirmed(one, other, where, None, 1e-20)


def _mentions(one: Node, other: Node, wanted: Any) -> bool:
    stack: list[Any] = [one, other]
    while stack:
        item = stack.pop()
        if isinstance(item, tuple) and item:
            if isinstance(item[0], str) and wanted(item):
                return True
            stack.extend(item)
    return False


def _is_whole(node: Node) -> bool:
    """A node that speaks of whole numbers: a factorial, (-1)^n, a sine."""
    if node[0] in ("fact", "binom", "mod"):
        return True
    if node[0] == "fun":
        return node[1] in _TRIGONOMETRIC
    if node[0] != "pow":
        return False
    base = node[1][1] if node[1][0] == "num" else None
    # (-1)^n is complex between whole numbers, though equal to cos(n pi) on them.
    return node[1][0] == "neg" or (isinstance(base, Fraction) and base < 0)


def _is_stepped(node: Node) -> bool:
    """A node with steps: a floor, a ceiling, a remainder."""
    return node[0] == "mod" or (node[0] == "fun" and node[1] in ("floor", "ceil", "sgn", "sign"))


def _is_bare_log(node: Node) -> bool:
    return node[0] == "fun" and node[1] == "log"
