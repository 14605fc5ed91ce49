r"""Decimals with a period: 0.\overline{3}, 0.\dot1\dot2, 0.1(6), 0.333..., each an exact fraction.

Read on from behind the digits of a numeral. In: a Reader there and those digits. Out: the value,
or None where no period follows, and then nothing has been read.
"""

from __future__ import annotations

from fractions import Fraction

from prime_core.verifiers.math.tokens import END
from prime_core.verifiers.math.tree import Reader

_MAX_PERIOD = 40
_MARKS = frozenset(["\\overline", "\\bar", "\\dot"])
# What may stand before and behind 0.1(6): elsewhere it is a product.
_BOUNDARIES = frozenset([",", ";", "=", "approx", "\\{", "\\}", "-", "\\cup", "}", "%", "\\%"])


def after(p: Reader, digits: str) -> Fraction | None:
    """The value of digits and the period behind them; None without one."""
    whole, point, decimals = digits.partition(".")
    start = p.position
    if not point and p.name() == "." and not p.peek().spaced:
        p.position += 1
        point = "."
    for read in (_marked, _bracketed, _dotted) if point else ():
        period = read(p, decimals)
        if period is not None:
            return _value(whole, *period)
    p.position = start
    return None


def _value(whole: str, before: str, period: str) -> Fraction:
    """A geometric series: 0.ababab... is ab/99."""
    lead = Fraction(int((whole + before) or "0"), 10 ** len(before))
    return lead + Fraction(int(period), 10 ** len(period) - 1) / 10 ** len(before)


def _usable(period: str, before: str) -> bool:
    return period.isdigit() and len(period) <= _MAX_PERIOD and len(before) <= 1_000


def _marked(p: Reader, decimals: str) -> tuple[str, str] | None:
    r"""\overline{12}; or dots over the first and the last digit, \dot1 4285 \dot7."""
    if p.name() not in _MARKS:
        return None
    start = p.position
    pieces: list[tuple[str, bool]] = []
    while p.name() in _MARKS or (pieces and p.peek().kind == "number" and p.name(1) == "\\dot"):
        marked = p.name() in _MARKS
        p.position += marked
        found = _digits(p)
        if found is None:
            break
        # A macro takes one digit without braces: \dot12 is a dotted 1 and a plain 2.
        braced, text = found
        pieces += [(text, marked)] if braced or not marked else [(text[0], True), (text[1:], False)]
    pieces = [piece for piece in pieces if piece[0]]
    period = "".join(text for text, _ in pieces)
    if not pieces or not (pieces[0][1] and pieces[-1][1]) or not _usable(period, decimals):
        p.position = start
        return None
    return decimals, period


def _digits(p: Reader) -> tuple[bool, str] | None:
    """A number token, with or without braces around it."""
    braced = p.name() == "{"
    token = p.peek(1) if braced else p.peek()
    if not token.value.isdigit() or (braced and p.name(2) != "}"):
        return None
    p.position += 3 if braced else 1
    return braced, token.value


def _bracketed(p: Reader, decimals: str) -> tuple[str, str] | None:
    """0.1(6), as a whole item: within a product it would be 0.1 times 6."""
    inner = p.peek(1)
    if p.name() != "(" or p.peek().spaced or inner.kind != "number" or p.name(2) != ")":
        return None
    # The digits are one token, 0.1, or two, 0 and a full stop; END stands before the first.
    before, behind = p.peek(-3 if p.name(-1) == "." else -2), p.peek(3)
    first = before.kind in ("sep", "end") or before.value in _BOUNDARIES
    last = behind is END or behind.kind in ("sep", "text") or behind.value in _BOUNDARIES
    if not (first and last) or not _usable(inner.value, decimals):
        return None
    p.position += 3
    return decimals, inner.value


def _dotted(p: Reader, decimals: str) -> tuple[str, str] | None:
    """0.333... and 0.1666...: digits that repeat at the end, and then dots."""
    dots = 3 if [p.name(i) for i in range(3)] == [".", ".", "."] else int(p.name() == "\\ldots")
    if not dots or p.peek(dots).kind == "number" or len(decimals) > 200:
        return None
    p.position += dots
    for length in range(1, min(_MAX_PERIOD, len(decimals) // 2) + 1):
        period = decimals[-length:]
        # Two equal digits at the end of many may be chance: 2.236067977...
        times = 3 if length == 1 and len(decimals) > 3 else 2
        if decimals.endswith(period * times):
            return decimals[: -2 * length], period
    return decimals, "0"  # 3.14... says no more than 3.14
