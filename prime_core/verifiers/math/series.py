r"""Infinite sums and products of numbers, to more digits than any comparison asks for.

In: the terms as a function of a whole number. Out: the limit, by Levin's u transformation (Levin
1973) of the first terms in 230 digits: it takes \sum 1/k^2 to 80 digits from 90 terms. A limit
counts only where two orders of the transformation agree to 45 digits and the terms fall as those
of a convergent series do, since divergent ones are transformed as readily.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from typing import Any

from prime_core.verifiers.math.complexes import Precise
from prime_core.verifiers.math.rationals import Inexact

_ORDER = 90
_LOWER_ORDER = 78
_DIGITS = 230
_AGREEMENT = 1e-45
_FAR = 400
Term = Callable[[Any], Any]


class Wide(Precise):
    """Arithmetic for terms far out: 800! and 2^{-800} are no doubles."""

    largest_exponent = 20_000
    largest_factorial = 2_000

    def __init__(self) -> None:
        super().__init__()
        self.library.dps = _DIGITS
        self.largest = self.library.mpf(10) ** 10_000


@cache
def wide() -> Wide:
    """The arithmetic that terms are to be evaluated in: mpmath is imported on first use."""
    return Wide()


def infinite_sum(term: Term, start: int) -> Any:
    """term(start) + term(start + 1) + ... Raises Inexact where no limit is certain."""
    _must_fall(term, start)
    terms: list[Any] = []
    for k in _whole(start):
        terms.append(term(k))
        if len(terms) > _ORDER:
            break
    # A zero has no place in the transformation: (1 - (-1)^k) / 2^k is left alone.
    if any(abs(value) == 0 for value in terms):
        raise Inexact("a series with terms that vanish")
    low, high = _transformed(terms, _LOWER_ORDER), _transformed(terms, _ORDER)
    if not abs(low - high) <= _AGREEMENT * max(abs(high), _AGREEMENT):
        raise Inexact("a series without a certain limit")
    return high


def infinite_product(factor: Term, start: int) -> Any:
    """factor(start) * factor(start + 1) * ..., as the exponential of a sum of logarithms."""
    library = wide().library

    def logarithm(k: Any) -> Any:
        value = factor(k)
        if abs(value) == 0:
            raise Inexact("a product with a factor of zero")
        return library.log(value)

    return library.exp(infinite_sum(logarithm, start))


def _whole(start: int) -> Iterator[Any]:
    return map(wide().number, count(start))


def _must_fall(term: Term, start: int) -> None:
    """Raises Inexact unless the terms fall faster than 1/k, or in turns of sign."""
    near, nearer, far, further = (
        term(wide().number(start + k)) for k in (_FAR, _FAR + 1, 2 * _FAR, 2 * _FAR + 1)
    )
    alternating = near.real * nearer.real < 0 and far.real * further.real < 0
    bound = 0.9 if alternating else 0.499
    if not (abs(far) <= bound * abs(near) and abs(further) <= bound * abs(nearer)):
        raise Inexact("a series that need not converge")


def _transformed(terms: list[Any], order: int) -> Any:
    """sum_j w_j S_j / sum_j w_j, where w_j = (-1)^j C(n, j) (j + 1)^(n - 2) / a_j, n the order."""
    library = wide().library
    above = below = partial = library.mpc(0)
    choose = 1
    for j, value in enumerate(terms[: order + 1]):
        partial += value
        weight = choose * library.mpf(j + 1) ** (order - 2) / value
        above += weight * partial
        below += weight
        choose = -choose * (order - j) // (j + 1)
    if abs(below) == 0:
        raise Inexact("a series without a limit")
    return above / below
