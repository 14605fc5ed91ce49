r"""Cut normalised LaTeX into tokens.

In: the output of normalise(). Out: tokens (kind, value, space_before). Words in \text{} and bare
words become separators, units, function names or text; what is left are numbers, single letters,
macros and signs. Pages of input are refused before any work is done.
"""

import re
from typing import NamedTuple

from prime_core.verifiers.math import conditions, languages
from prime_core.verifiers.math.units import UNITS, is_unit

MAX_TOKENS = 12_000


class ParseError(ValueError):
    """The text is not mathematics that this parser reads."""


class TooLong(ParseError):
    """Mathematics perhaps, but larger or deeper than is read."""


class Token(NamedTuple):
    """One token. kind: number, letter, macro, sign, text, sep, function, end."""

    kind: str
    value: str
    spaced: bool = False


END = Token("end", "")

FUNCTIONS = frozenset([
    "sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "arcsin", "arccos",
    "arctan", "arccot", "arcsec", "arccsc", "asin", "acos", "atan", "cosec", "tg", "ctg", "ln",
    "log", "lg", "exp", "gcd", "lcm", "min", "max", "det", "sgn", "sign", "Re", "Im", "arg",
    "cis",
])  # fmt: skip
_SEPARATORS = frozenset(["and", "or", ",", ";", "and/or", ",and", ",or", "&", "but"])
_SKIPPED = frozenset([
    "approximately", "approx", "about", "exactly", "either", "roughly", "only", "answer:",
    "answer", "is", "equals:", "the", "all", "if", "both", "namely",
])  # fmt: skip
_REALS = frozenset(["all real numbers", "all reals", "real numbers", "all real"])
_WORD_NUMBERS = frozenset(["pi", "infinity", "inf", "oo", "sqrt", "infty", "theta", "alpha"])
# Only right behind a number: without \text they may be products, as in and pm may.
_BARE_UNITS = frozenset([
    "cm", "mm", "km", "kg", "mg", "ml", "mL", "ft", "in", "hr", "lb", "oz", "mph", "min", "sec",
    "yd", "mi", "dm", "pm", "am", "PM", "AM",
])  # fmt: skip

_PREAMBLE = re.compile(r"[a-z ',]*(?:\b(?:is|are|equals)|:|=)")
# Such a lead is no name for the value behind it: it denies the value, or takes it from another.
CHANGED = re.compile(
    r"\b(?:not|no|never|cannot|false|untrue|wrong|incorrect|neither|nor|unless|except|other|than"
    r"|twice|thrice|double|triple|(?:half|third|quarter|square|cube|negative|opposite|reciprocal"
    r"|inverse|multiple|factor|root|logarithm)s?\s+of|plus|minus|times|if|or|between|at|most|least)\b"
    r"|n't\b"
)
# The last branch takes any character: finditer() would silently skip what no branch takes, and
# 5@ would be 5. An exponent must not run into a letter: 2e3x is no 2000x.
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |\\text\s*\{(?P<text>(?:[^{}\\]|\\.|\{[^{}]{0,200}\}){0,1000})\}
    |\\(?P<macro>[A-Za-z]+)
    |\\(?P<escaped>[{}%$&|\\_#.])
    |(?P<number>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+(?![A-Za-z\d]))?)
    |(?P<clock>(?<![A-Za-z])[aApP]\.\s?[mM](?:\.|$))
    |(?P<foreign>[A-Za-z]*[À-ɏЀ-ӿ][A-Za-zÀ-ɏЀ-ӿ]*|[\u2e80-\u9fff\uac00-\ud7af]+)
    |(?P<word>[A-Za-z][A-Za-z]+)
    |(?P<letter>[A-Za-z])
    |(?P<sign>\*\*|<=|>=|!=|==|=>|->|.)""",
    re.VERBOSE | re.DOTALL,
)


def tokenise(text: str) -> list[Token]:
    """Tokens of a normalised answer, with an end token. Raises ParseError."""
    tokens: list[Token] = []
    spaced = False
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        value = match.group(kind)
        if kind == "space":
            spaced = True
            continue
        if kind == "text":
            if tokens and conditions.begins(value, text[match.end() :]):
                break
            tokens.extend(_text(value, spaced, tokens))
        elif kind == "clock":
            tokens.append(Token("text", value, spaced))
        elif kind == "foreign":
            tokens.extend(_foreign(value, spaced, tokens))
        elif kind == "word":
            if tokens and conditions.begins(value, text[match.end() :]):
                break
            tokens.extend(_word(value, spaced, tokens, text, match.end()))
        elif kind == "macro":
            tokens.append(_macro(value, spaced))
        elif kind == "escaped":
            tokens.append(Token("sign", "\\" + value, spaced))
        else:
            tokens.append(Token(kind, value, spaced))
        spaced = False
        if len(tokens) > MAX_TOKENS:
            raise TooLong(f"more than {MAX_TOKENS} tokens")
    tokens.append(END)
    return tokens


def _is_lead(words: str) -> bool:
    """Whether words in front of an answer name it, as in 'the answer is'."""
    return bool(_PREAMBLE.fullmatch(words)) and not CHANGED.search(words)


def _macro(name: str, spaced: bool) -> Token:
    if name in FUNCTIONS:
        return Token("function", name, spaced)
    if name == "quad":
        return Token("sep", "quad", True)
    return Token("macro", name, spaced)


def _text(content: str, spaced: bool, before: list[Token]) -> list[Token]:
    r"""Tokens of \text{content}: a separator, a name, mathematics in disguise, or words."""
    words = content.replace("~", " ").strip()
    lowered = words.lower()
    if lowered.strip(" ,;.") in _SEPARATORS or lowered in _SEPARATORS:
        return [Token("sep", lowered, True)]
    joining = languages.joining(words, content[:1] == content[-1:] == " ") if before else None
    if joining:
        return [Token("sep", joining, True)]
    if not words or lowered in _SKIPPED or (not before and _is_lead(lowered)):
        return []
    if not before and languages.is_lead(words):
        return []
    if lowered in _REALS or languages.means_reals(lowered):
        # The name that \mathbb{R} gets in atoms.py.
        return [Token("letter", "mathbb_R", spaced)]
    # min behind a value is a minute, elsewhere a function
    after_value = bool(before) and (before[-1].kind == "number" or before[-1].value in ")}")
    # As a bare word tr is t times r.
    if (words in FUNCTIONS or words == "tr") and not (lowered in UNITS and after_value):
        return [Token("function", words, spaced)]
    if lowered in UNITS and len(words) > 1:
        return [Token("text", words, spaced)]
    ending = languages.trailing_joining(words) if after_value else None
    if ending:  # 29 \text{ dollars and } 50 \text{ cents}
        return [*_text(ending[0], spaced, before), Token("sep", ending[1], True)]
    # m^2, m/s and N m behind a number: as mathematics they would be names.
    if after_value and re.search(r"[/^ ]", words) and is_unit(words):
        return [Token("text", words, spaced)]
    if not re.search(r"[A-Za-z]{2}|[^\x00-\x7f]", words):
        if len(words) == 1 and words.isalpha():
            return [Token("text", words, spaced)]
        inner = tokenise(words)[:-1]
        return [
            Token(t.kind, t.value, t.spaced or (i == 0 and spaced)) for i, t in enumerate(inner)
        ]
    if re.match(r"[-+$(\d\\]", words) and re.search(r"\d", words) and "\\text" not in words:
        return tokenise(words)[:-1]  # \text{5 cm}
    return [Token("text", words, spaced)]


def _foreign(word: str, spaced: bool, before: list[Token]) -> list[Token]:
    """Tokens of a word in another alphabet, or with accents."""
    joining = languages.bare_joining(word, True) if before else None
    return [Token("sep", joining, True)] if joining else _text(word, spaced, before)


def _word(word: str, spaced: bool, before: list[Token], text: str, end: int) -> list[Token]:
    """Tokens of bare letters: a separator, function, unit or word; else a product of letters."""
    lowered = word.lower()
    if lowered in _SEPARATORS:
        return [Token("sep", lowered, True)]
    joining = languages.bare_joining(word, spaced and text[end : end + 1] == " ")
    if joining and before:
        return [Token("sep", joining, True)]
    after_number = bool(before) and before[-1].kind == "number"
    # min and sec are functions and units: a number decides.
    if (lowered in FUNCTIONS or word in FUNCTIONS) and not (lowered in UNITS and after_number):
        return [Token("function", lowered, spaced)]
    if lowered in _WORD_NUMBERS:
        return [Token("macro", "infty" if lowered.startswith(("in", "oo")) else lowered, spaced)]
    if word[:3] in ("sin", "cos", "tan", "log") and len(word) == 4:  # sinx
        return [Token("function", word[:3], spaced), Token("letter", word[3], False)]
    if word in _BARE_UNITS and after_number and not text[end : end + 1].isalpha():
        return [Token("text", word, spaced)]
    alone = not before and end == len(text)  # not a product of letters
    unit = lowered in UNITS and (spaced or len(word) == 3)
    if len(word) >= 4 or unit or (alone and len(word) == 3):
        if word.isupper() and len(word) <= 6:
            return [Token("letter", word, spaced)]  # a name such as ABCD is one symbol
        return [Token("text", word, spaced)]
    if word.isupper():
        return [Token("letter", word, spaced)]
    # As in TeX, letters without a macro are a product: ab is a times b.
    return [Token("letter", c, spaced and i == 0) for i, c in enumerate(word)]
