"""When a program's result is what a reference solution returns, by the rule of the task.

Most results have to be equal. Some tasks of MBPP+ and HumanEval+ have several right answers; which
rule holds for which of them is EvalPlus's own (v0.3.1). docs/decisions.md#evalplus-oracles
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

from . import codec

RELATIVE_TOLERANCE = 1e-7  # as EvalPlus compares floats
FLOAT_TOLERANCE = 1e-6  # as there, where a task states none


def is_equal(got: Any, expected: Any, _arguments: list[Any], tolerance: float) -> bool:
    """The rule of most tasks."""
    return close(got, expected, tolerance)


def close(got: Any, expected: Any, tolerance: float) -> bool:
    """Equal, or floats (also inside sequences of equal length) within the tolerance."""
    if isinstance(expected, float) and isinstance(got, int | float):
        near = tolerance or FLOAT_TOLERANCE
        return (
            got == expected
            or math.isclose(got, expected, rel_tol=RELATIVE_TOLERANCE, abs_tol=near)
            or (got != got and expected != expected)
        )
    if isinstance(expected, list | tuple) and type(got) is type(expected):
        pairs = zip(got, expected, strict=False)
        return len(got) == len(expected) and all(close(g, e, tolerance) for g, e in pairs)
    return got == expected


def has_opaque(value: Any) -> bool:
    """Whether a decoded value holds one of which only the type's name is known."""
    if isinstance(value, dict):
        return any(has_opaque(item) for pair in value.items() for item in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return any(has_opaque(item) for item in value)
    return isinstance(value, codec.Opaque)


def is_same_set(got: Any, expected: Any, _arguments: list[Any], _tolerance: float) -> bool:
    """Neither order nor repetition counts."""
    return isinstance(got, Iterable) and set(got) == set(expected)


def is_there(got: Any, expected: Any, _arguments: list[Any], _tolerance: float) -> bool:
    """Whether something was found, as a bool or as a match (None: nothing)."""
    found = got if isinstance(got, bool) else got is not None
    return found == (expected is not None)


def is_root(got: Any, _expected: Any, arguments: list[Any], tolerance: float) -> bool:
    """A zero of the polynomial with the coefficients arguments[0], the constant first."""
    value = sum(c * math.pow(got, power) for power, c in enumerate(arguments[0]))
    return abs(value) <= (tolerance or FLOAT_TOLERANCE)


def is_surface(got: Any, expected: Any, arguments: list[Any], tolerance: float) -> bool:
    """A pyramid's surface; its height may be that of the faces or that above the base."""
    base, height = arguments
    upright = round(base**2 + 2 * base * math.hypot(base / 2, height))
    return close(got, expected, tolerance) or abs(got - upright) <= tolerance


def is_digit_distance(got: Any, expected: Any, arguments: list[Any], tolerance: float) -> bool:
    """A sum of differences of digits; the numbers may be aligned at either end."""
    one, other = (str(number) for number in arguments)
    width = max(len(one), len(other))
    digits = zip(one.zfill(width), other.zfill(width), strict=True)
    aligned = sum(abs(int(a) - int(b)) for a, b in digits)
    return close(got, expected, tolerance) or got == aligned


def divisor_sum(number: int) -> int:
    """The sum of all divisors of a positive whole number."""
    pairs = ({d, number // d} for d in range(1, math.isqrt(number) + 1) if number % d == 0)
    return sum(sum(pair) for pair in pairs)


def is_sum_of_divisors(got: Any, expected: Any, arguments: list[Any], tolerance: float) -> bool:
    """A sum of divisors; the number itself may count as one, or not."""
    total = divisor_sum(arguments[0])
    return close(got, expected, tolerance) or got in (total, total - arguments[0])


def is_equal_sum(got: Any, expected: Any, arguments: list[Any], tolerance: float) -> bool:
    """Whether two sums of divisors agree; the numbers themselves may count as such, or not."""
    one, other = arguments
    sums = divisor_sum(one), divisor_sum(other)
    readings = (sums[0] == sums[1], sums[0] - one == sums[1] - other)
    return close(got, expected, tolerance) or (isinstance(got, bool) and got in readings)


ORACLES: dict[str, Callable[[Any, Any, list[Any], float], bool]] = {
    "equal": is_equal,
    "set": is_same_set,
    "found": is_there,
    "root": is_root,
    "pyramid": is_surface,
    "digit_distance": is_digit_distance,
    "divisor_sum": is_sum_of_divisors,
    "equal_divisor_sums": is_equal_sum,
}
"""By the name that a row's `oracle` gives them."""
