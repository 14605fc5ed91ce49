r"""Three arithmetics with one interface: exact fractions, complex doubles, 50 digits.

Guards come before the work: a power, factorial or binomial whose result would be large raises
TooLarge. mpmath is imported on first use of the 50 digits.
"""

from __future__ import annotations

import cmath
import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

MAX_BITS = 60_000


class Inexact(ArithmeticError):
    """The value is not a fraction."""


class TooLarge(ArithmeticError):
    """The value, or the way to it, is longer than the limits."""


class Undefined(ArithmeticError):
    """There is no value: division by zero, logarithm of zero."""


def _bits(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()


class Exact:
    """Fractions. Roots and powers only where the result is a fraction."""

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
            return self.power(
                self.root(base, exponent.denominator), Fraction(exponent.numerator)
            )
        if not base and exponent <= 0:
            raise Undefined("zero to a power that is not positive")
        if base in (0, 1):
            return base
        if base == -1:
            return Fraction(-1 if exponent.numerator % 2 else 1)
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

    def logarithm(self, value: Fraction, base: Fraction) -> Fraction:
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
            if value > 1000:
                raise TooLarge("a factorial")
            return Fraction(math.factorial(value.numerator))
        if value == 0 and name in ("sin", "tan", "sinh", "tanh", "arcsin", "arctan", "Im"):
            return Fraction(0)
        if (value == 0 and name in ("cos", "cosh", "exp")) or (value == 1 and name in ("ln", "log", "lg")):
            return Fraction(1 if value == 0 else 0)
        raise Inexact(name)

    def binomial(self, n: Fraction, k: Fraction) -> Fraction:
        """n over k, whole numbers."""
        if n.denominator != 1 or k.denominator != 1 or n < 0 or k < 0:
            raise Inexact("a binomial")
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


@lru_cache(maxsize=1024)
def _whole_root(value: int, index: int) -> int:
    """The whole root of a whole number. Raises Inexact when there is none."""
    if index == 2:
        root = math.isqrt(value)
    elif value.bit_length() > 900:
        raise Inexact("a root of a long number")
    else:
        root = round(value ** (1 / index))
    if root**index != value:
        raise Inexact("not a perfect power")
    return root


class Double:
    """Complex doubles, principal values; odd roots of negative reals are real."""

    library: Any = cmath
    pi: Any = math.pi
    largest = 1e300

    def __init__(self, log_base: int | None = None) -> None:
        self.log_base = log_base  # of a bare \log; None: e

    def number(self, value: Fraction | int) -> Any:
        """A constant of the text."""
        try:
            return complex(float(value))
        except OverflowError:
            raise TooLarge("a number") from None

    def constant(self, name: str) -> Any:
        """e, i or pi."""
        return {"e": complex(math.e), "i": 1j, "\\pi": complex(math.pi)}[name]

    def checked(self, value: Any) -> Any:
        """The value, if it is finite and not huge."""
        if not abs(value) < self.largest:
            raise TooLarge("a value")
        return value

    def divide(self, above: Any, below: Any) -> Any:
        """above / below."""
        if below == 0:
            raise Undefined("division by zero")
        return self.checked(above / below)

    def power(self, base: Any, exponent: Any) -> Any:
        """base ** exponent."""
        if base == 0:
            if exponent.real <= 0:
                raise Undefined("zero to a power that is not positive")
            return base
        size = abs(self.library.log(base)) * abs(exponent)
        if not size < 600:
            raise TooLarge("a power")
        if base.imag == 0 and base.real < 0 and exponent.imag == 0:
            fraction = Fraction(float(exponent.real)).limit_denominator(15)
            if abs(float(exponent.real) - fraction) < 1e-13:
                return self._real_power(base, exponent, fraction)
        return self.checked(base**exponent)

    def _real_power(self, base: Any, exponent: Any, fraction: Fraction) -> Any:
        """A negative number to a fraction: real where the denominator is odd."""
        if fraction.denominator % 2 == 0:
            return self.checked(base**exponent)
        sign = -1 if fraction.numerator % 2 else 1
        return self.checked(sign * (-base) ** exponent)

    def root(self, value: Any, index: int) -> Any:
        """The real root of a real number where there is one, else the principal root."""
        if index == 0:
            raise Undefined("a root of index zero")
        return self.power(value, self.divide(self.number(1), self.number(index)))

    def logarithm(self, value: Any, base: Any) -> Any:
        """ln value / ln base."""
        return self.divide(self.function("ln", value), self.function("ln", base))

    def function(self, name: str, value: Any) -> Any:
        """An elementary function."""
        if name in ("ln", "log", "lg"):
            if value == 0:
                raise Undefined("logarithm of zero")
            logarithm = self.library.log(value)
            base = {"ln": None, "lg": 10}.get(name, self.log_base)
            return logarithm / self.library.log(self.number(base)) if base else logarithm
        if name in ("factorial", "gamma"):
            return self._gamma(value + 1 if name == "factorial" else value)
        if name in ("abs", "floor", "ceil", "sgn", "sign", "Re", "Im"):
            return self._real_function(name, value)
        if abs(value) > 1e8:
            raise TooLarge(f"{name} of a large number")
        if name in _INVERSE:
            return self.divide(self.number(1), self.function(_INVERSE[name], value))
        if name == "arccot":
            return self.constant("\\pi") / 2 - self.function("arctan", value)
        if name in _ARC_INVERSE:
            return self.function(_ARC_INVERSE[name], self.divide(self.number(1), value))
        if name in ("exp", "sinh", "cosh") and abs(value) > 600:
            raise TooLarge(name)
        if name == "cis":
            return self.library.cos(value) + self.constant("i") * self.library.sin(value)
        if name not in _LIBRARY:
            raise Inexact(name)
        try:
            return self.checked(getattr(self.library, _LIBRARY[name])(value))
        except (ValueError, OverflowError, ZeroDivisionError):
            raise Undefined(name) from None

    def _real_function(self, name: str, value: Any) -> Any:
        if name == "abs":
            return self.number(1) * abs(value)
        if name == "Re" or name == "Im":
            return self.number(1) * (value.real if name == "Re" else value.imag)
        if value.imag != 0 or abs(value) > 1e12:
            raise Inexact(name)
        real = value.real
        if name in ("sgn", "sign"):
            return self.number(int(real > 0) - int(real < 0))
        if abs(real - round(float(real))) < 1e-9:  # on which side is beyond this arithmetic
            return self.number(round(float(real)))
        return self.number(math.floor(real) if name == "floor" else math.ceil(real))

    def _gamma(self, value: Any) -> Any:
        if value.imag != 0:
            raise Inexact("a factorial of a complex number")
        if abs(value.real) > 170:
            raise TooLarge("a factorial")
        try:
            return self.gamma(value.real)
        except (ValueError, OverflowError, ZeroDivisionError):
            raise Undefined("a factorial") from None

    def gamma(self, value: Any) -> Any:
        """Euler's gamma of a real number."""
        return complex(math.gamma(value))

    def binomial(self, n: Any, k: Any) -> Any:
        """Gamma(n+1) / Gamma(k+1) / Gamma(n-k+1)."""
        below = self._gamma(k + 1) * self._gamma(n - k + 1)
        return self.divide(self._gamma(n + 1), below)

    def several(self, name: str, values: list[Any]) -> Any:
        """min and max of reals."""
        if name not in ("min", "max") or any(v.imag != 0 for v in values):
            raise Inexact(name)
        reals = [v.real for v in values]
        return self.number(1) * (min(reals) if name == "min" else max(reals))


class Precise(Double):
    """Complex numbers of 50 digits, for doubles that agree."""

    largest = 1e300

    def __init__(self, log_base: int | None = None) -> None:
        import mpmath

        super().__init__(log_base)
        self.library = mpmath.mp.clone()
        self.library.dps = 50
        self.pi = self.library.pi

    def number(self, value: Fraction | int) -> Any:
        """A constant of the text."""
        whole = self.library.mpc(value.numerator)
        return whole / value.denominator

    def constant(self, name: str) -> Any:
        """e, i or pi."""
        values = {"e": self.library.e, "i": self.library.j, "\\pi": self.library.pi}
        return self.library.mpc(values[name])

    def gamma(self, value: Any) -> Any:
        """Euler's gamma of a real number."""
        return self.library.mpc(self.library.gamma(value))


Arithmetic = Exact | Double

_INVERSE = {"cot": "tan", "ctg": "tan", "sec": "cos", "csc": "sin", "cosec": "sin", "coth": "tanh"}
_ARC_INVERSE = {"arcsec": "arccos", "arccsc": "arcsin"}
_LIBRARY = {
    "sin": "sin", "cos": "cos", "tan": "tan", "tg": "tan", "sinh": "sinh", "cosh": "cosh",
    "tanh": "tanh", "exp": "exp", "arcsin": "asin", "arccos": "acos", "arctan": "atan",
    "asin": "asin", "acos": "acos", "atan": "atan",
}  # fmt: skip
