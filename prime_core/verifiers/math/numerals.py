r"""Numerals: decimals, thousands, mixed numbers, repeating decimals, digits in a base.

Each function reads on from the position of a Reader (the parser of parse.py) and returns a tree,
or raises ParseError. Values are exact.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from prime_core.verifiers.math.rationals import Printed
from prime_core.verifiers.math.tokens import END, ParseError, TooLong
from prime_core.verifiers.math.tree import Node, Reader


def numeral(p: Reader) -> Node:
    r"""A number as it is written: 1,234.5, 3\frac{1}{2}, 0.\overline{3}, 1011_2."""
    digits = p.take().value
    digits += _more_thousands(p, digits)
    if p.name() == "_":
        p.position += 1
        base = raw_group(p)
        return ("based", digits, base)
    if p.name() == "." and p.name(1) in ("\\overline", "\\dot", "\\bar"):
        p.position += 1
    if p.name() in ("\\overline", "\\dot", "\\bar") and p.name(-1) != ",":
        return _repeating(p, digits)
    if p.name() == ".":  # 5. at the end of a sentence
        p.position += 1
    value = number(digits)
    if digits.isdigit():
        # As at school: elsewhere juxtaposition multiplies, but 3\frac{1}{2} is three and a half.
        fraction = _proper_fraction(p)
        if fraction is not None:
            return ("num", value + fraction)
    if digits.endswith("0") and "." in digits:
        value = Printed(value, len(digits.partition(".")[2]))
    return ("num", value)


def _more_thousands(p: Reader, digits: str) -> str:
    """The ',234' of 1,234 where it is one number; the ' 234' of 1 234."""
    # 0,123 and 1234,567 are two numbers: no one groups thousands so.
    if not digits.isdigit() or len(digits) > 3 or digits[0] == "0":
        return ""
    more = ""
    while True:
        # In brackets a comma separates, and so does one with a space behind it: 1, 234.
        comma = p.thousands and not p.brackets and p.name() == "," and not p.peek().spaced
        group = p.peek(1) if comma else p.peek()
        # A group follows its comma directly, or a space instead of a comma.
        if group.kind != "number" or group.spaced == comma:
            return more
        whole = group.value.partition(".")[0]
        if len(whole) != 3 or not group.value.replace(".", "").isdigit():
            return more
        p.position += 2 if comma else 1
        more += group.value
        if "." in group.value:
            return more


def _proper_fraction(p: Reader) -> Any:
    r"""The 1/2 of 3\frac{1}{2} or of 3 1/2; None when no proper fraction follows."""
    start = p.position
    if p.name() == "\\frac":
        names = [p.peek(i) for i in range(1, 7)]
        if [names[i].value for i in (0, 2, 3, 5)] != ["{", "}", "{", "}"]:
            return None
        above, below, width = names[1], names[4], 7
    elif p.peek().kind == "number" and p.peek().spaced and p.name(1) == "/":
        above, below, width = p.peek(), p.peek(2), 3
    else:
        return None
    if not (above.value.isdigit() and below.value.isdigit()) or len(below.value) > 20:
        return None
    # Sliced: int() is quadratic, and refuses more than 4,300 digits.
    if not 0 < int(above.value[:20]) < int(below.value):
        return None  # 3\frac{5}{2} is a product
    p.position = start + width
    return number(above.value) / number(below.value)


def _repeating(p: Reader, digits: str) -> Node:
    """0.1 followed by an overlined 6: one sixth."""
    p.position += 1
    period = raw_group(p)
    if not period.isdigit() or len(period) > 40:
        raise ParseError("an overline over no digits")
    decimals = len(digits.partition(".")[2])
    # A geometric series: 0.ababab... is ab/99.
    tail = number(period) / (10 ** len(period) - 1) / 10**decimals
    return ("num", number(digits) + tail)


def number(text: str) -> Fraction:
    """The exact value of a decimal numeral. Raises ParseError beyond 10,000 digits."""
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, decimals = mantissa.partition(".")
    # Bounded before the power: 1e9999999999 is twelve characters.
    shift = int(exponent) if exponent and len(exponent) < 8 else 0
    if len(mantissa) > 10_000 or abs(shift) > 10_000 or len(exponent) >= 8:
        raise TooLong("a number of more than 10,000 digits")
    # Not a float: 1e400 and 2e400 would both be infinite, and 1e-400 zero.
    value = Fraction(_integer(whole + decimals))
    shift -= len(decimals)
    return value * 10**shift if shift >= 0 else value / 10**-shift


def _integer(digits: str) -> int:
    """int() in pieces: Python refuses more than 4,300 digits at once."""
    value = 0
    for start in range(0, len(digits), 4_000):
        piece = digits[start : start + 4_000]
        value = value * 10 ** len(piece) + int(piece)
    return value


def raw_group(p: Reader) -> str:
    """The tokens of a braced group, or the next token, as text."""
    if p.name() != "{":
        token = p.take()
        if token is END:
            raise ParseError("a script without content")
        return token.value
    depth = 0
    words: list[str] = []
    while True:
        token = p.take()
        if token is END:
            raise ParseError("a brace is not closed")
        if token.value == "{":
            depth += 1
        elif token.value == "}":
            depth -= 1
            if depth == 0:
                return "".join(words[1:])
        words.append(token.value)
