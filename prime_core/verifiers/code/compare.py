"""When an output is the expected one, and when a value is. Both sides are plain data here."""

import math
import re
from typing import Any

# ASCII: \d and float() also take digits of other scripts.
DECIMAL = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?", re.ASCII)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
TEXT_TOLERANCE = 1e-6
VALUE_TOLERANCE = 1e-9
LONGEST_NUMBER = 400


def lines_of(text: str) -> list[str]:
    """Lines without what no reader sees: carriage returns, blanks at ends, empty last lines."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def same_output(printed: str, expected: str, tolerance: float = TEXT_TOLERANCE) -> bool:
    """Whether a program printed what was expected, line by line and word by word.

    Blanks at line ends, empty lines at the end and the amount of space between words do not count;
    case, order and the division into lines do. A word must be the same text, except that where the
    expected one is a decimal (3.14, 1e5) any number within the absolute or relative tolerance will
    do. An expected whole number is matched as text: 6.0 is not 6.
    """
    ours, theirs = lines_of(printed), lines_of(expected)
    if ours == theirs:
        return True
    if len(ours) != len(theirs):
        return False
    return all(
        a == b or same_words(a.split(), b.split(), tolerance)
        for a, b in zip(ours, theirs, strict=True)
    )


def same_words(ours: list[str], theirs: list[str], tolerance: float) -> bool:
    """Whether two lines have the same words."""
    if len(ours) != len(theirs):
        return False
    return all(a == b or same_decimal(a, b, tolerance) for a, b in zip(ours, theirs, strict=True))


def same_decimal(word: str, expected: str, tolerance: float) -> bool:
    """Whether the expected word is a decimal and the other one a number close to it."""
    if max(len(word), len(expected)) > LONGEST_NUMBER:
        return False
    if not DECIMAL.fullmatch(expected) or not NUMBER.fullmatch(word):
        return False
    a, b = float(word), float(expected)
    # 1e999 reads as infinity, and would equal whatever else is too large.
    if not (math.isfinite(a) and math.isfinite(b)):
        return False
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)


def printed_digits(text: str) -> int:
    """The most digits behind the point of any decimal in a text."""
    return max((len(digits) for digits in re.findall(r"\.(\d+)", text, re.ASCII)), default=0)


def same_value(
    got: Any, expected: Any, tolerance: float = VALUE_TOLERANCE, decimals: int | None = None
) -> bool:
    """Whether a returned value is the expected one, which was read from JSON: types count.

    True is not 1, 1.0 is not 1 and "1" is not 1. Two things that JSON cannot tell apart are the
    same: a tuple and a list, a key 1 and a key "1". A whole number may stand where a decimal is
    expected (as in typed languages), and decimals agree to nine digits, since sums in another
    order differ in the last ones.

    decimals: an expected decimal of at most so many digits behind the point was rounded to them by
    whoever printed it: 10^-decimals off is right. Whole numbers are never rounded.
    """
    if isinstance(expected, float):
        if type(got) not in (int, float):  # not isinstance: True is an int
            return False
        try:
            rounded = decimals is not None and round(expected, decimals) == expected
            near = (
                max(tolerance, 10.0**-decimals) if rounded and decimals is not None else tolerance
            )
            close = math.isclose(got, expected, rel_tol=tolerance, abs_tol=near)
        except OverflowError:  # a whole number beyond all floats
            return False
        return close or (got != got and expected != expected)
    if isinstance(expected, list):
        return (
            isinstance(got, list | tuple)
            and len(got) == len(expected)
            and all(
                same_value(a, b, tolerance, decimals) for a, b in zip(got, expected, strict=True)
            )
        )
    if isinstance(expected, dict):
        if not isinstance(got, dict) or len(got) != len(expected):
            return False
        by_text = {json_key(key): item for key, item in got.items()}
        return by_text.keys() == expected.keys() and all(
            same_value(by_text[key], item, tolerance, decimals) for key, item in expected.items()
        )
    return type(got) is type(expected) and got == expected


def json_key(key: Any) -> str:
    """The text that a key becomes in JSON: a whole number is written out."""
    # A longer one takes quadratic time, or is refused by str() for its number of digits.
    return str(key) if type(key) is int and abs(key) < 1 << 63 else key
