"""Words behind a number that change it: factors such as million, and what leaves it unread.

Other words behind a number name what is counted, and say nothing. The lists are closed: 'squared',
'over seven' and 'or more' make another number of it, or none.
"""

from __future__ import annotations

import re
from fractions import Fraction

_LARGE = {
    "dozen": 12, "hundred": 100, "thousand": 10**3, "lakh": 10**5, "million": 10**6,
    "crore": 10**7, "billion": 10**9, "trillion": 10**12, "quadrillion": 10**15,
    "quintillion": 10**18, "sextillion": 10**21, "septillion": 10**24, "octillion": 10**27,
    "nonillion": 10**30, "decillion": 10**33, "googol": 10**100, "bn": 10**9, "mn": 10**6,
}  # fmt: skip
# No 'quarter' and no 'second': those are coins and moments.
_PARTS = {
    "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10, "eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14,
    "fifteenth": 15, "sixteenth": 16, "seventeenth": 17, "eighteenth": 18, "nineteenth": 19,
    "twentieth": 20, "thirtieth": 30, "fortieth": 40, "fiftieth": 50, "sixtieth": 60,
    "seventieth": 70, "eightieth": 80, "ninetieth": 90, "hundredth": 100, "thousandth": 1_000,
    "millionth": 10**6, "billionth": 10**9, "trillionth": 10**12,
}  # fmt: skip
FACTORS: dict[str, Fraction] = {
    **{word + end: Fraction(n) for word, n in _LARGE.items() for end in ("", "s")},
    **{word + end: Fraction(1, n) for word, n in _PARTS.items() for end in ("", "s")},
    "half": Fraction(1, 2), "halves": Fraction(1, 2),
}  # fmt: skip
_NUMERALS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety "
    "twice thrice double triple"
)
_OPERATIONS = (
    "factorial choose over plus minus divided multiplied doubled tripled quadrupled halved mod "
    "modulo power root permute remainder inverse reciprocal conjugate negative negated"
)
_DENIALS = (
    "not never no wrong incorrect false untrue isn't isnt except neither nor or but least most "
    "maybe perhaps possibly"
)
_UNREAD = frozenset(f"{_NUMERALS} {_OPERATIONS} {_DENIALS}".split())
_COMPARATIVES = frozenset([
    "more", "less", "fewer", "greater", "larger", "smaller", "higher", "lower",
])  # fmt: skip
_WORD = re.compile(r"[a-z']+")


def factor(words: str) -> Fraction:
    """The factor in words such as 'million dollars'; 1 without one."""
    product = Fraction(1)
    for word in words.lower().split():
        product *= FACTORS.get(word, 1)
    return product


def leave_unread(words: str, is_unit: frozenset[str]) -> bool:
    """Whether words behind a number make of it what is not read here.

    is_unit: words that 'squared' and 'cubed' belong to.
    """
    found = _WORD.findall(words.lower())
    if not found:
        return False
    if not _UNREAD.isdisjoint(found):
        return True
    for i, word in enumerate(found):
        following = found[i + 1] if i + 1 < len(found) else "than"
        # 5 more apples are five; 5 more, and 5 more than that, are not.
        if word in _COMPARATIVES and following in ("than", "or", "and"):
            return True
        if word in ("squared", "cubed"):
            beside = {*found[max(i - 1, 0) : i], following}
            if beside.isdisjoint(is_unit | {"unit", "units"}):
                return True
        # Five and a half, five and above.
        if word == "and" and (following in ("a", "up", "above", "below", "under") or _part(found)):
            return True
        if (word, following) in (("below", "zero"), ("basis", "points")):
            return True
    return False


def _part(found: list[str]) -> bool:
    return any(FACTORS.get(word, 1) != 1 for word in found)
