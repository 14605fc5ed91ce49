"""Exact arithmetic: fractions, and the limits of what is computed at all.

Guards come before the work: a power, factorial or binomial whose result would be large raises
TooLarge. What has no value as a fraction raises Inexact, and is left to complexes.py.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

MAX_BITS = 60_000


class Inexact(ArithmeticError):
    """The value is not a fraction."""


class TooLarge(ArithmeticError):
    """The value, or the way to it, is longer than the limits."""


class TooMuchWork(ArithmeticError):
    """The comparison as a whole has used up its steps."""


class Undefined(ArithmeticError):
    """There is no value: division by zero, logarithm of zero."""


class Printed(Fraction):
    """A decimal that was written with zeros at its end: 10.0 has one decimal, and 10 has none."""

    places: int

    def __new__(cls, value: Fraction, places: int) -> Printed:
        """The value, and how many decimals it was written with."""
        self = super().__new__(cls, value)
        self.places = places
        return self

    def __neg__(self) -> Printed:
        return Printed(Fraction(-self.numerator, self.denominator), self.places)


def _bits(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()


class Exact:
    """Fractions. Roots and powers only where the result is a fraction."""

    cost = 1  # steps charged for one operation

    def number(self, value: Fraction | int) -> Fraction:
        """A constant of the text."""
        return value if isinstance(value, Fraction) else Fraction(value)

    def constant(self, name: str) -> Fraction:
        """None of e, i, pi is a fraction."""
        raise Inexact(name)

    def checked(self, value: Fraction) -> Fraction:
        """The value, if it is not too long."""
        if _bits(value) > MAX_BITS:
            raise TooLarge("a fraction")
        return value

    def divide(self, above: Fraction, below: Fraction) -> Fraction:
        """above / below."""
        if not below:
            raise Undefined("division by zero")
        return self.checked(above / below)

    def power(self, base: Fraction, exponent: Fraction) -> Fraction:
        """base ** exponent; a root where the exponent is a fraction."""
        if exponent.denominator != 1:
            if exponent.denominator > 64:
                raise Inexact("a root")
            return self.power(self.root(base, exponent.denominator), Fraction(exponent.numerator))
        if not base and exponent <= 0:
            raise Undefined("zero to a power that is not positive")
        # Before the guard: these powers are small whatever the exponent.
        if base in (0, 1):
            return base
        if base == -1:
            return Fraction(-1 if exponent.numerator % 2 else 1)
        # The length of the result, near enough, without computing it.
        if abs(exponent) * _bits(base) > MAX_BITS:
            raise TooLarge("a power")
        return base**exponent.numerator

    def root(self, value: Fraction, index: int) -> Fraction:
        """The real root of that index."""
        if index < 1 or index > 64 or (value < 0 and index % 2 == 0):
            raise Inexact("a root")
        above = _whole_root(abs(value.numerator), index)
        result = Fraction(above, _whole_root(value.denominator, index))
        return -result if value < 0 else result

    def logarithm(self, _value: Fraction, _base: Fraction) -> Fraction:
        """Left to the other arithmetics."""
        raise Inexact("a logarithm")

    def function(self, name: str, value: Fraction) -> Fraction:
        """Functions that keep fractions."""
        if name == "abs":
            return abs(value)
        if name == "floor":
            return Fraction(math.floor(value))
        if name == "ceil":
            return Fraction(math.ceil(value))
        if name == "gamma":
            return self.function("factorial", value - 1)
        if name in ("sgn", "sign"):
            return Fraction((value > 0) - (value < 0))
        if name in ("Re",):
            return value
        if name == "factorial" and value.denominator == 1 and value >= 0:
            # 4000! has 42,100 bits, within MAX_BITS.
            if value > 4000:
                raise TooLarge("a factorial")
            return Fraction(math.factorial(value.numerator))
        if value == 0 and name in ("sin", "tan", "sinh", "tanh", "arcsin", "arctan", "Im"):
            return Fraction(0)
        if (value == 0 and name in ("cos", "cosh", "exp")) or (
            value == 1 and name in ("ln", "log", "lg")
        ):
            return Fraction(1 if value == 0 else 0)
        raise Inexact(name)

    def binomial(self, n: Fraction, k: Fraction) -> Fraction:
        """n over k, whole numbers."""
        if n.denominator != 1 or k.denominator != 1 or n < 0 or k < 0:
            raise Inexact("a binomial")
        # The longest, 1000 over 500, has 995 bits; 10,000 over 100 has 804.
        if n > 10_000 or (n > 1_000 and 100 < k < n - 100):
            raise TooLarge("a binomial")
        return Fraction(math.comb(n.numerator, k.numerator))

    def several(self, name: str, values: list[Fraction]) -> Fraction:
        """gcd, lcm, mod, min, max."""
        if name in ("min", "max"):
            return min(values) if name == "min" else max(values)
        if any(v.denominator != 1 for v in values) or len(values) < 2:
            raise Inexact(name)
        whole = [v.numerator for v in values]
        if name == "mod":
            if not whole[1]:
                raise Undefined("mod zero")
            return Fraction(whole[0] % whole[1])
        return self.checked(Fraction(math.gcd(*whole) if name == "gcd" else math.lcm(*whole)))


# One expression is evaluated at many points, and its constant roots recur.
@lru_cache(maxsize=1024)
def _whole_root(value: int, index: int) -> int:
    """The whole root of a whole number. Raises Inexact when there is none."""
    if index == 2:
        # Exact at any length, unlike a power of 1/2.
        root = math.isqrt(value)
    elif value.bit_length() > 900:  # beyond a double
        raise Inexact("a root of a long number")
    else:
        # A double may miss a long root: then the check below refuses, and doubles decide.
        root = round(value ** (1 / index))
    if root**index != value:
        raise Inexact("not a perfect power")
    return root
