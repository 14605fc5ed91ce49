"""Complex numbers: doubles, and 50 digits of mpmath, with the interface of exact arithmetic.

Principal values, except that odd roots of negative reals are real. Guards come before the work.
mpmath is imported on first use.
"""

from __future__ import annotations

import cmath
import math
from fractions import Fraction
from typing import Any

from prime_core.verifiers.math.rationals import Inexact, TooLarge, Undefined

_INVERSE = {"cot": "tan", "ctg": "tan", "sec": "cos", "csc": "sin", "cosec": "sin", "coth": "tanh"}
_ARC_INVERSE = {"arcsec": "arccos", "arccsc": "arcsin"}
# The names that cmath and mpmath share: one class serves both.
_LIBRARY = {
    "sin": "sin", "cos": "cos", "tan": "tan", "tg": "tan", "sinh": "sinh", "cosh": "cosh",
    "tanh": "tanh", "exp": "exp", "arcsin": "asin", "arccos": "acos", "arctan": "atan",
    "asin": "asin", "acos": "acos", "atan": "atan",
}  # fmt: skip


class Double:
    """Complex doubles, principal values; odd roots of negative reals are real."""

    library: Any = cmath
    pi: Any = math.pi
    largest: Any = 1e300
    # e^600 is 4e260; beyond e^709 a double overflows. gamma(171.7) does so too.
    largest_exponent = 600
    largest_factorial = 170
    cost = 1

    def __init__(self, log_base: int | None = None) -> None:
        self.left_reals = False  # a root or logarithm of a real number was not real
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

    def converted(self, value: Any) -> Any:
        """A number of another arithmetic in this one."""
        return complex(value)

    def checked(self, value: Any) -> Any:
        """The value, if it is finite and not huge."""
        # Not >=: nan fails every comparison, and has to be refused too.
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
        # mpmath would go on for any size.
        if not size < self.largest_exponent:
            raise TooLarge("a power")
        result = self._power(base, exponent)
        # values.py trusts such points less: principal branches differ between equal expressions.
        self.left_reals |= base.imag == 0 == exponent.imag and result.imag != 0
        return result

    def _power(self, base: Any, exponent: Any) -> Any:
        if base.imag == 0 and base.real < 0 and exponent.imag == 0:
            # 1/3 arrives as a double: no other fraction of so small a denominator is that near.
            fraction = Fraction(float(exponent.real)).limit_denominator(15)
            if abs(float(exponent.real) - fraction) < 1e-13:
                return self._real_power(base, exponent, fraction)
        return self.checked(base**exponent)

    def _real_power(self, base: Any, exponent: Any, fraction: Fraction) -> Any:
        """A negative number to a fraction: real where the denominator is odd."""
        if fraction.denominator % 2 == 0:
            return self.checked(base**exponent)
        # School mathematics wants -2 for the cube root of -8; the principal value is 1 + 1.73i.
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
        result = self._function(name, value)
        self.left_reals |= value.imag == 0 and result.imag != 0
        return result

    def _function(self, name: str, value: Any) -> Any:
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
        # Near 1e8 doubles are 1.5e-8 apart, more than the tolerance: a sine there means nothing.
        if abs(value) > 1e8:
            raise TooLarge(f"{name} of a large number")
        if name in _INVERSE:
            return self.divide(self.number(1), self.function(_INVERSE[name], value))
        if name == "arccot":
            return self.constant("\\pi") / 2 - self.function("arctan", value)
        if name in _ARC_INVERSE:
            return self.function(_ARC_INVERSE[name], self.divide(self.number(1), value))
        # As in power(): before the work.
        if name in ("exp", "sinh", "cosh") and abs(value) > self.largest_exponent:
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
            # Complex numbers have no order; beyond 1e12 doubles cannot show the 1e-9 used below.
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
        if abs(value.real) > self.largest_factorial:
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

    cost = 10

    def __init__(self, log_base: int | None = None) -> None:
        import mpmath

        super().__init__(log_base)
        # Own digits: mpmath.mp belongs to whoever else in this process uses mpmath.
        self.library = mpmath.mp.clone()
        self.library.dps = 50
        self.pi = self.library.pi

    def number(self, value: Fraction | int) -> Any:
        """A constant of the text."""
        # Divided here, not before: 1/3 as a double would have 16 of the 50 digits.
        whole = self.library.mpc(value.numerator)
        return whole / value.denominator

    def converted(self, value: Any) -> Any:
        """A number of another arithmetic in this one."""
        return self.library.mpc(value)

    def constant(self, name: str) -> Any:
        """e, i or pi."""
        values = {"e": self.library.e, "i": self.library.j, "\\pi": self.library.pi}
        return self.library.mpc(values[name])

    def gamma(self, value: Any) -> Any:
        """Euler's gamma of a real number."""
        return self.library.mpc(self.library.gamma(value))
