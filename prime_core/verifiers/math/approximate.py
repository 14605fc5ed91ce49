r"""The only two leniences for numbers: a stated tolerance, and a gold that is itself rounded.

A gold counts as rounded where it says so (\approx, scientific notation of three digits or more),
or where it has decimals and three significant digits, and the answer is an exact expression that
is no decimal, such as \pi for 3.14. Then the answer must round to the gold's last digit; 0.333 is
never 1/3. A gold such as 0.25 or 12.5, a fraction of small numbers, is exact and not rounded.
"""

from __future__ import annotations

import re
from fractions import Fraction

from prime_core.verifiers.math import chains, units
from prime_core.verifiers.math.exact import plain_number
from prime_core.verifiers.math.rationals import TooLarge
from prime_core.verifiers.math.relations import right_side, stands_for
from prime_core.verifiers.math.tree import Node
from prime_core.verifiers.math.values import constant

_DECIMAL = re.compile(
    r"(?P<about>\\approx\s*|~\s*)?-?(?:\\?\$|[£€¥₹])?\s*(?P<whole>[\d,]*)\.(?P<decimals>\d+)"
    r"(?P<times>\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*(?:\{\s*(?P<power>-?\d+)\s*\}|(?P<digit>\d)))?"
    r"(?P<dots>\s*\\ldots|\.\.\.)?",
    re.ASCII,
)
_RELATION = re.compile(r"=|\\approx(?![A-Za-z])\s*")
# A repeating or continued decimal says all its digits: 0.\overline{12} is no 0.12.
_LONG_DECIMAL = re.compile(r"\d\.(?:\d|\s*\\(?:overline|bar|dot)|\(\d)|\.\.\.|\\ldots", re.ASCII)
MIN_DIGITS = 3
# Rounded golds are longer fractions: 33.3 is 333/10, 18.2 is 91/5; 0.25, 0.625 and 12.5 are exact.
_SMALL_NUMERATOR, _SMALL_DENOMINATOR = 50, 20


def within(answer: Node | None, gold: Node | None, tolerance: float) -> bool | None:
    """|answer - gold| <= tolerance |gold|, for two real constants; else None."""
    one, other = _constant(answer), _constant(gold)
    if one is None or other is None:
        return None
    if units.contradict(_unit(answer), _unit(gold)):
        return False
    return abs(float(one) - float(other)) <= tolerance * abs(float(other))


def _constant(node: Node | None) -> Fraction | float | None:
    if node is None:
        return None
    node = right_side(node)
    value = constant(node[1] if node[0] in ("qty", "pct") else node)
    # float() of a longer fraction overflows.
    return value if value is not None and -1e300 < value < 1e300 else None


def _unit(node: Node | None) -> str:
    node = node and right_side(node)
    return node[2] if node and node[0] == "qty" else ""


def rounds_to(answer: Node, gold: Node, answer_text: str, gold_text: str) -> bool:
    """Whether the gold is a rounded decimal and the answer rounds to it."""
    # Only the gold may be rounded: a policy that may round is paid for guessing. So this is no
    # equivalence relation (docs/decisions.md#votes).
    if gold[0] == "rel":
        gold, gold_text = _last_member(gold, gold_text)
    match = _DECIMAL.match(gold_text)
    if match is None or (match.end() < len(gold_text) and gold[0] not in ("qty", "pct")):
        return False
    answer, answer_text = _first_value(answer, answer_text)
    if units.contradict(_unit(answer), _unit(gold)):
        return False
    try:
        target, values = _constant(gold), _readings(answer, gold)
    except (TooLarge, OverflowError):
        return False
    if target is None:
        return False
    digits = len((match["whole"].replace(",", "") + match["decimals"]).lstrip("0"))
    stated = bool(match["about"] or match["dots"] or (match["times"] and digits >= MIN_DIGITS))
    if not stated:
        # Two digits would accept every fraction within a hundredth.
        if digits < MIN_DIGITS or _is_small_fraction(target):
            return False
        if not _is_exact_form(answer, answer_text):
            return False
    power = int(match["power"] or match["digit"] or 0) if match["times"] else 0
    # 10 ** power is computed exactly below; a double has no such exponent anyway.
    if abs(power) > 300:
        return False
    half_unit = Fraction(10) ** (power - len(match["decimals"])) / 2
    # <=, not <: a half may have been rounded up or to even. Exact, since 0.005 is no double.
    return any(abs(Fraction(value) - Fraction(target)) <= half_unit for value in values)


def _readings(answer: Node, gold: Node) -> list[Fraction | float]:
    """What the answer may be, in the gold's terms: 2/3 and 200/3 % beside a gold of 66.7 %."""
    value = _constant(answer)
    if value is None:
        return []
    if gold[0] == "pct" and answer[0] != "pct":
        return [value, 100 * value]
    # As in equal.py, the sign may be written on one side alone.
    return [value, value / 100] if answer[0] == "pct" != gold[0] else [value]


def _is_small_fraction(value: Fraction | float) -> bool:
    if not isinstance(value, Fraction):
        return False
    small = abs(value.numerator) <= _SMALL_NUMERATOR and value.denominator < _SMALL_DENOMINATOR
    return small or value.denominator == 1


def _last_member(chain: Node, text: str) -> tuple[Node, str]:
    """What a named gold, x = 3.14, stands for, as a tree and as it is written."""
    about = "\\approx " if chain[2][-1] == "~" else ""
    return right_side(chain), about + _RELATION.split(text)[-1].strip()


def _first_value(answer: Node, text: str) -> tuple[Node, str]:
    """The exact member of 22/7 \\approx 3.14; any other answer is itself."""
    if not chains.is_chain(answer) or "~" not in answer[2]:
        return answer, text
    values = stands_for(answer)
    exact = [part for part in _RELATION.split(text) if not _LONG_DECIMAL.search(part)]
    return (values[-1], exact[-1].strip()) if len(values) == 2 and exact else (answer, text)


def _is_exact_form(answer: Node, text: str) -> bool:
    """An expression, not a decimal, whose decimals do not end early: 22/7, pi, sqrt(2)."""
    # 0.333 and 5 say all they mean; only a form with more digits than it shows can be rounded.
    if plain_number(text) is not None and "/" not in text and "frac" not in text:
        return False
    if _LONG_DECIMAL.search(text):
        return False
    value = _constant(answer)
    if isinstance(value, Fraction):
        below = value.denominator
        # A fraction's decimals end exactly where its denominator has no prime but those of ten.
        for prime in (2, 5):
            while below % prime == 0:
                below //= prime
        return below > 1
    return value is not None
