r"""The only two leniences for numbers: a stated tolerance, and a gold that is itself rounded.

A gold counts as rounded where it says so (\approx, scientific notation of three digits or more),
or where it has decimals and the answer is an exact expression that is no short decimal, such as
\pi for 3.14. Then the answer must round to the gold's last digit; 0.333 is never 1/3.
"""

from __future__ import annotations

import re
from fractions import Fraction

from prime_core.verifiers.math import units
from prime_core.verifiers.math.exact import plain_number
from prime_core.verifiers.math.rationals import TooLarge
from prime_core.verifiers.math.relations import right_side
from prime_core.verifiers.math.tree import Node
from prime_core.verifiers.math.values import constant

_DECIMAL = re.compile(
    r"(?P<about>\\approx\s*|~\s*)?-?(?P<whole>\d*)\.(?P<decimals>\d+)"
    r"(?P<times>\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*(?:\{\s*(?P<power>-?\d+)\s*\}|(?P<digit>\d)))?"
    r"(?P<dots>\s*\\ldots|\.\.\.)?",
    re.ASCII,
)


def within(answer: Node | None, gold: Node | None, tolerance: float) -> bool | None:
    """|answer - gold| <= tolerance |gold|, for two real constants; else None."""
    one, other = _constant(answer), _constant(gold)
    if one is None or other is None:
        return None
    return abs(float(one) - float(other)) <= tolerance * abs(float(other))


def _constant(node: Node | None) -> Fraction | float | None:
    if node is None:
        return None
    node = right_side(node)
    value = constant(node[1] if node[0] in ("qty", "pct") else node)
    # float() of a longer fraction overflows.
    return value if value is not None and -1e300 < value < 1e300 else None


def rounds_to(answer: Node, gold: Node, answer_text: str, gold_text: str) -> bool:
    """Whether the gold is a rounded decimal and the answer rounds to it."""
    # Only the gold may be rounded: a policy that may round is paid for guessing. So this is no
    # equivalence relation (docs/decisions.md#votes).
    match = _DECIMAL.match(gold_text)
    if match is None or (match.end() < len(gold_text) and gold[0] != "qty"):
        return False
    if answer[0] == gold[0] == "qty" and units.contradict(answer[2], gold[2]):
        return False
    digits = len((match["whole"] + match["decimals"]).lstrip("0"))
    stated = bool(match["about"] or match["dots"] or (match["times"] and digits >= 3))
    # One decimal would accept every expression within 0.05.
    if not stated and (len(match["decimals"]) < 2 or not _is_exact_form(answer, answer_text)):
        return False
    try:
        value, target = _constant(answer), _constant(gold)
    except (TooLarge, OverflowError):
        return False
    if value is None or target is None:
        return False
    power = int(match["power"] or match["digit"] or 0) if match["times"] else 0
    # 10 ** power is computed exactly below; a double has no such exponent anyway.
    if abs(power) > 300:
        return False
    half_unit = Fraction(10) ** (power - len(match["decimals"])) / 2
    # <=, not <: a half may have been rounded up or to even. Exact, since 0.005 is no double.
    return abs(Fraction(value) - Fraction(target)) <= half_unit


def _is_exact_form(answer: Node, text: str) -> bool:
    """An expression, not a decimal, whose decimals do not end early: 22/7, pi, sqrt(2)."""
    # 0.333 and 5 say all they mean; only a form with more digits than it shows can be rounded.
    if plain_number(text) is not None and "/" not in text and "frac" not in text:
        return False
    if re.search(r"\d\.\d", text):
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
