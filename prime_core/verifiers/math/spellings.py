r"""Several notations for one thing, rewritten as text before the answer is cut into tokens.

In: LaTeX with one name for each macro, as normalise.py has it so far. Out: the same with steps of
a derivation on one line, standard brackets of intervals, \pmod, \binom and bases in figures. Each
rule asks first whether its mark occurs at all: most answers have none of them.
"""

from __future__ import annotations

import re

_STEPS = re.compile(
    r"\\begin\{((?:aligned|align|split|gathered|gather|eqnarray|equation|alignedat)\*?)\}"
    r"(?:\{\d\})?"
)
# A line that begins with a relation goes on with the one before it.
_GOES_ON = re.compile(r"\\\\\s*(?==|\\approx|\\le|\\ge|<|>)")
_END = r"\s*((?:[^][(),;{}]|\([^()]*\)|\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})+)"
_INTERVAL = re.compile(rf"([][(]){_END}[,;]{_END}([][)])")
# A bracket that opens nothing: [2, 5[ in a union.
_CLOSING = re.compile(r"\[\s*(?:\\c[ua]p(?![A-Za-z])|\\setminus|\\text|[,;)}]|$)")
_MODULUS = r"((?:[^(){}]|\{[^{}]*\})+?)"
_MOD_WORD = r"(?:\\bmod|\\text\s*\{\s*mod(?:ulo)?\s*\}|\bmod(?:ulo)?\b)"
_PARENTHESISED_MOD = re.compile(rf"\(\s*{_MOD_WORD}\s*{_MODULUS}\s*\)")
_TEXT_MOD = re.compile(r"\\text\s*\{\s*\(?\s*mod(?:ulo)?\s*(\d*)\s*\)?\s*\}")
_WORD_MOD = re.compile(r"(?<![\\A-Za-z])mod(?:ulo)?(?![A-Za-z])")
_ARGUMENT = r"(?:\{\s*([^{}]+?)\s*\}|(\w))"
_LEADING_INDEX = re.compile(
    rf"(?:\{{\s*\}}|(?<![\w)}}\]]))\s*[_^]\s*{_ARGUMENT}\s*(?:\\text\s*\{{\s*)?([CPA])(?:\s*\}})?"
    rf"\s*_\s*{_ARGUMENT}"
)
_CALLED = re.compile(r"(?:\\text\s*\{\s*)?(?<![A-Za-z\\])n([CP])r\s*(?:\}\s*)?\(")
_INFIX = re.compile(
    r"\{([^{}]{0,80}(?:\{[^{}]{0,40}\}[^{}]{0,40}){0,4})\\(choose|over)(?![A-Za-z])([^{}]{0,80})\}"
)
_BASES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15,
    "sixteen": 16, "binary": 2, "octal": 8, "decimal": 10, "hex": 16, "hexadecimal": 16,
}  # fmt: skip
_BASE_NAMES = "|".join(_BASES)
_BASE_NAME = rf"(?:base[\s\-]*)?({_BASE_NAMES}|\d{{1,2}})?\s*"
_BASE = re.compile(
    rf"_\s*\{{\s*\(?(?:\\text\s*\{{\s*{_BASE_NAME}\}}\s*(\d{{1,2}})?|{_BASE_NAME})\)?\s*\}}",
    re.IGNORECASE,
)
_BASE_BEHIND = re.compile(
    rf"(?<![A-Za-z\d.])([0-9A-F]+)\)?\s*(?:\\text\s*\{{\s*)?\(?\s*(?:in\s+)?base[\s\-]*"
    rf"(?:\}}\s*)?({_BASE_NAMES}|\d{{1,2}})\s*\)?\s*\}}?",
    re.IGNORECASE,
)
_RUPEES = re.compile(
    r"(?:\\text\s*\{\s*(?:Rs|INR)\.?\s*\}|(?<![\\A-Za-z])(?:Rs|INR)\b\.?)\s*(?=\d)"
)
_CURRENCY_CODES = re.compile(
    r"(?:\\text\s*\{\s*(EUR|GBP|USD)\s*\}|(?<![\\A-Za-z])(EUR|GBP|USD)\b)\s*(?=\d)"
)
_CODES = {"EUR": "€", "GBP": "£", "USD": "\\$"}
# A letter between two numbers, of which the second has a smaller unit of the same kind.
_SMALLER = r"(?=\d+(?:\.\d+)?\s*(?:\\text\s*\{\s*)?(?:cm|mm|min|m|s|sec|h|hr|g|mg|ml|mL|oz)\b)"
_LETTER_UNIT = re.compile(rf"(?<=\d)\s*([hmdlLs])\s*{_SMALLER}")
_FEET = re.compile(r"(?<![\w^}.])(\d+)\s*'\s*(\d+(?:\.\d+)?)\s*(?:''|\")")
_TRANSPOSED = re.compile(
    r"\^\s*(?:\{\s*)?\\(?:top|intercal)(?:\s*\})?|\^\s*\{?\s*\\text\{T\}\s*\}?"
)
_SET_MACRO = re.compile(r"\\([ZNRQ])(?![A-Za-z])")
# A sign in words before a number, at the beginning alone: '8 minus 3' is a difference.
_SIGN = re.compile(
    r"^\s*(\\text\s*\{\s*)?(?:minus|negative)\b(\s*\})?\s*(?=\d|\\[dt]?frac|\\sqrt)", re.I
)


def respell(text: str) -> str:
    """The text in standard notation. Linear in its length."""
    if "&" in text or "\\begin{gather" in text or "\\begin{equation" in text:
        text = _steps(text)
    if "]" in text or "[" in text:
        text = _standard_brackets(text)
    if "mod" in text:
        text = _PARENTHESISED_MOD.sub(r"\\pmod{\1}", text)
        text = _TEXT_MOD.sub(_text_mod, text)
        text = _WORD_MOD.sub(r"\\bmod ", text)
    if "nCr" in text or "nPr" in text:
        text = _CALLED.sub(r"\1(", text)
    if "\\in" in text:
        text = _SET_MACRO.sub(r"\\mathbb{\1}", text)
    if "inus" in text or "egative" in text:
        text = _SIGN.sub(_sign, text)
    if "_" in text:
        text = _LEADING_INDEX.sub(_counted, text)
        text = _BASE.sub(_base, text)
    if "\\choose" in text or "\\over" in text:
        text = _INFIX.sub(_infix, text)
    if "base" in text or "Base" in text:
        text = _BASE_BEHIND.sub(_base_behind, text)
    if "Rs" in text or "INR" in text:
        text = _RUPEES.sub("₹", text)
    if "m" in text or "s" in text or "g" in text:
        text = _LETTER_UNIT.sub(r"\\text{ \1 }", text)
    if "'" in text and "circ" not in text:
        text = _FEET.sub(r"\1 \\text{ ft } \2 \\text{ in}", text)
    if "EUR" in text or "GBP" in text or "USD" in text:
        text = _CURRENCY_CODES.sub(lambda match: _CODES[match.group(1) or match.group(2)], text)
    if "matrix" in text or "array" in text:
        text = _TRANSPOSED.sub("^T", text)
    return text


def _steps(text: str) -> str:
    """Every derivation on one line."""
    done, rest = "", text
    while True:
        match = _STEPS.search(rest)
        # find(), not a pattern across the lines: many openings without an end stay linear.
        end = rest.find(f"\\end{{{match.group(1)}}}", match.end()) if match else -1
        if match is None or end < 0:
            return done + rest
        done += rest[: match.start()] + _one_line(rest[match.end() : end])
        rest = rest[end + len(match.group(1)) + 6 :]


def _one_line(lines: str) -> str:
    """The lines of an aligned derivation: a chain of relations, or several items."""
    lines = re.sub(r"(?<!\\)&", " ", lines)
    lines = _GOES_ON.sub(" ", lines).strip()
    return " " + lines.removesuffix("\\\\").replace("\\\\", " ; ") + " "


def _standard_brackets(text: str) -> str:
    """]0, 5] as (0, 5], where the brackets make sense in no other way."""
    if _nested(text) and not _CLOSING.search(text):
        return text
    changed = _INTERVAL.sub(_interval, text)
    # Left alone where that is no help: what is not understood must not be half rewritten.
    return changed if _nested(changed) else text


def _interval(match: re.Match[str]) -> str:
    opening, low, high, closing = match.groups()
    opening = "(" if opening == "]" else opening
    return f"{opening}{low}, {high}{')' if closing == '[' else closing}"


def _nested(text: str) -> bool:
    """Whether each ] closes an open bracket, and each bracket is closed."""
    depth = 0
    for char in text:
        if char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
            if depth < 0:
                return False
    return depth == 0


def _text_mod(match: re.Match[str]) -> str:
    return f"\\pmod{{{match.group(1)}}}" if match.group(1) else "\\bmod "


def _sign(match: re.Match[str]) -> str:
    return "-" if not match.group(1) or match.group(2) else match.group(1) + "-"


def _counted(match: re.Match[str]) -> str:
    r"""{}_{10}C_3 as \binom{10}{3}, {}_5P_2 as P(5, 2)."""
    above, letter, below = match[1] or match[2], match[3], match[4] or match[5]
    return f"\\binom{{{above}}}{{{below}}}" if letter == "C" else f"P({above}, {below})"


def _infix(match: re.Match[str]) -> str:
    name = "binom" if match.group(2) == "choose" else "frac"
    return f"\\{name}{{{match.group(1)}}}{{{match.group(3)}}}"


def _base(match: re.Match[str]) -> str:
    # Of \text{base }2 the number stands behind the words.
    numbers = [number for number in match.groups() if number]
    return f"_{{{_in_figures(numbers[0])}}}" if len(numbers) == 1 else match.group(0)


def _base_behind(match: re.Match[str]) -> str:
    if match.group(0).count("{") != match.group(0).count("}"):
        return match.group(0)
    return f"{match.group(1)}_{{{_in_figures(match.group(2))}}}"


def _in_figures(base: str) -> str:
    """The number of a base in words or figures."""
    return str(_BASES.get(base.lower(), base))
