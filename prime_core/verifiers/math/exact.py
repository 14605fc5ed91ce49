r"""Comparisons that need no algebra: the same text, the same words, the same plain number.

In: two answers as written. Out: True, False, or None where the text alone does not decide.
"""

import re
from fractions import Fraction

from prime_core.verifiers.math.evaluate import based_value
from prime_core.verifiers.math.rationals import Undefined

# At most 300 digits: int() is quadratic, and refuses 4,300. ASCII only: other scripts' digits are
# normalise()'s, and \d without the flag would take them here.
_PLAIN = re.compile(
    r"\s*\$?\s*([+-]?)\s*(?:\\[dt]?frac\s*\{\s*(\d{1,300})\s*\}\s*\{\s*(\d{1,300})\s*\}"
    r"|(\d{1,300})\s*/\s*(\d{1,300})|(\d{0,300})(?:\.(\d{1,300}))?)\s*\$?\s*",
    re.ASCII,
)
_BASED = re.compile(
    r"\(?([0-9A-Za-z]+(?:\.[0-9A-Za-z]+)?)\)?\s*_\s*\{?\s*(\d{1,2})\s*\}?", re.ASCII
)
_CLOCK = re.compile(
    r"\s*(?P<hours>\d{1,2})\s*:\s*(?P<minutes>\d{2})(?:\s*:\s*(?P<seconds>\d{2}))?"
    r"\s*(?P<half>[aApP]\.?\s*[mM]\.?)?\s*",
    re.ASCII,
)
_CHOICE = re.compile(r"\(?\s*([A-Z])\s*\)?[.:]?")
_NAMED_CHOICE = re.compile(
    r"(?:\(([A-Z])\)|([A-Z])\)|([A-Z])[.:]\s)\s*(?P<content>\S.*)", re.DOTALL
)
_OPTIONS = re.compile(r"(?<![A-Za-z])[A-Z](?:\)|[.:]|$)")
# Behind the option's letter: another letter that is offered beside it, or a word that denies it.
_HEDGED = re.compile(
    r"(?:\b(?:or|and|not|but|maybe|perhaps|possibly|also|both|either|nor|as well as|than|with"
    r"|instead of)\b|[,;/&|])"
    r"(?:\W|\b(?:or|and|not|but|maybe|perhaps|possibly|also|both|either|nor|option|choice)\b)*"
    r"(?<![A-Za-z])[A-H](?![A-Za-z0-9_^(={+*-])"
    r"|\b(?:wrong|incorrect|false|is not|isn't|not correct|not right)\b"
    r"|^\W*[A-H]\W*$",
)
_TEXT_GROUP = re.compile(r"\\text\s*\{((?:[^{}\\]|\\.|\{[^{}]{0,200}\}){0,1000})\}")
_ARTICLES = frozenset(["a", "an", "the"])


def plain_number(text: str) -> Fraction | None:
    r"""The value of an integer, decimal, a/b or \frac{a}{b}; None for any other text."""
    match = _PLAIN.fullmatch(text)
    if match is None:
        return None
    sign, above, below, over, under, whole, decimals = match.groups()
    above, below = above or over, below or under
    if above is not None:
        # 1/0 has no value, but still equals its own text further on.
        if not int(below):
            return None
        value = Fraction(int(above), int(below))
    elif whole or decimals:
        value = Fraction(int((whole or "") + (decimals or "")), 10 ** len(decimals or ""))
    else:
        return None
    return -value if sign == "-" else value


def same_number(answer: str, gold: str) -> bool | None:
    """Two plain numbers compared exactly; None where either is not one."""
    one = plain_number(answer)
    if one is None:
        return None
    other = plain_number(gold)
    return None if other is None else one == other


def based(text: str) -> tuple[Fraction, int] | None:
    """Value and base of 152A_{11}; None for any other text."""
    match = _BASED.fullmatch(_bare(text))
    # a_1 and S_10 are names with an index; FF_{16} and 2A_{16} are digits.
    if match is None or not re.match(r"\d|[A-Z]+\d|[A-F]+$", match.group(1)):
        return None
    try:
        return based_value(match.group(1), match.group(2)), int(match.group(2))
    except Undefined:
        return None


def same_based(answer: str, gold: str) -> bool | None:
    """Numerals with a base: same value in the same base; without a base, the same digits."""
    one, other = based(answer), based(gold)
    if one is None and other is None:
        return None
    if one is not None and other is not None:
        return one == other
    # The base stands in the question, so a bare answer means its digits.
    bare, numeral = (answer, gold) if one is None else (gold, answer)
    digits = _BASED.fullmatch(_bare(numeral))
    if digits is None:
        return None
    if _BASED.fullmatch(_bare(bare)):
        return False  # a digit that its base does not have
    if not re.fullmatch(r"[0-9A-Za-z.]+", bare):
        return None
    return bare.lower() == digits.group(1).lower()


def same_clock(answer: str, gold: str) -> bool | None:
    """Times of the day: hours and minutes, and a.m. or p.m. where both say it; else None."""
    one, other = _CLOCK.fullmatch(_without_text(answer)), _CLOCK.fullmatch(_without_text(gold))
    if one is None or other is None:
        return None
    if not any(m["half"] or m["minutes"].startswith("0") for m in (one, other)):
        return None  # 3:15 may be a ratio
    if [int(x) for x in one.group(1, 2)] != [int(x) for x in other.group(1, 2)]:
        return False
    if int(one["seconds"] or 0) != int(other["seconds"] or 0):
        return False
    # One side may leave it out, as it may leave out a unit.
    halves = {m["half"][0].lower() for m in (one, other) if m["half"]}
    return len(halves) < 2


def choice(text: str) -> str | None:
    """The letter of a multiple-choice answer: C, (C), C."""
    match = _CHOICE.fullmatch(_without_text(text).strip())
    return match.group(1) if match else None


def named_choice(text: str) -> str | None:
    """The letter of an option written out: (C) 12, C) 12."""
    match = _NAMED_CHOICE.fullmatch(_without_text(text).strip())
    # 'A) B) C)' names every option, and must not count as the first.
    if match is None or len(_OPTIONS.findall(text)) > 1:
        return None
    letter = next(filter(None, match.groups()[:3]))
    return None if _HEDGED.search(match["content"]) else letter


def same_choice(answer: str, gold: str) -> bool | None:
    """Multiple choice, where the gold is one letter in parentheses or text; else None."""
    letter = choice(gold)
    if letter is None:
        return None
    given = choice(answer)
    if given is None:
        given = named_choice(answer)
    return None if given is None else given == letter


def words(text: str) -> tuple[str, ...]:
    """Lower-case words of a text answer, without articles, macros for text, or punctuation."""
    plain = _without_text(text).replace("\\", " ")
    found = re.findall(r"[^\W_]+", plain)
    return tuple(word.lower() for i, word in enumerate(found) if not _is_article(found, i))


def _is_article(found: list[str], place: int) -> bool:
    """Whether a word is an article, and no letter: in front of a word, and no capital inside."""
    word = found[place]
    if word.lower() not in _ARTICLES or place + 1 == len(found):
        return False
    # 'A circle' begins with an article; 'Type A' and 'A Team' have a name in it.
    return word != "A" or (place == 0 and found[1][0].islower())


def is_wordy(text: str) -> bool:
    """Whether a normalised answer consists of words, without any mathematics."""
    plain = _without_text(text)
    if re.search(r"[\\^_=<>+*/{}\[\]|$%]|\d", plain):
        return False
    # Three bare letters may be a product, abc; four hardly are.
    return bool(re.search(r"[^\W\d_]{4,}|[^\x00-\x7f]", plain)) or (
        "\\text" in text and bool(re.search(r"[A-Za-z]{2,}", plain))
    )


def same_text(answer: str, gold: str) -> bool:
    """Normalised answers that are letter for letter the same, spaces aside."""
    return _bare(answer) == _bare(gold)


def _without_text(text: str) -> str:
    return _TEXT_GROUP.sub(r" \1 ", text)


def _bare(text: str) -> str:
    # A space between digits stays: 5 5 is not 55.
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", _TEXT_GROUP.sub(r"\1", text))
