r"""One spelling for answers that differ in typography only.

In: LaTeX or plain text as a person or a model writes it. Out: LaTeX with one name for each macro,
ASCII digits and signs, no sizing, spacing or colour. Nothing here changes what an answer means.
"""

import re
import unicodedata
from functools import lru_cache

from prime_core.verifiers.math.prose import without_sentence
from prime_core.verifiers.math.spellings import respell

_VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5),
    "⅗": (3, 5), "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8),
    "⅞": (7, 8), "⅐": (1, 7), "⅑": (1, 9), "⅒": (1, 10),
}  # fmt: skip
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta",
    "η": "eta", "θ": "theta", "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu",
    "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "χ": "chi",
    "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda",
    "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega", "ϕ": "phi",
}  # fmt: skip
# A macro gets a space behind it, or it would swallow a letter that follows: ×a, \times a.
_SIGNS = {
    "−": "-", "–": "-", "—": "-", "﹣": "-", "－": "-", "‐": "-", "‑": "-", "×": r"\times ",
    "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "÷": "/", "∕": "/", "⁄": "/", "≤": r"\le ",
    "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∞": r"\infty ", "√": r"\sqrt ",
    "∛": r"\sqrt[3]", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ",
    "°": r"^\circ ", "±": r"\pm ", "∓": r"\mp ", "′": "'", "″": "''", "’": "'", "“": '"', "”": '"',
    "，": ",", "；": ";", "：": ":", "（": "(", "）": ")", "［": "[", "］": "]", "｛": "{",
    "｝": "}", "％": "%", "＝": "=", "＋": "+", "＜": "<", "＞": ">", "。": ".", "、": ",",
    "⟨": r"\langle ", "⟩": r"\rangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ",
    "⌉": r"\rceil ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}",
    "∖": r"\setminus ", "…": r"\ldots ", "⋯": r"\ldots ", "＊": "*", "∗": "*", "／": "/",
    "∠": r"\angle ", "△": r"\triangle ", "¬": r"\neg ", "∧": r"\wedge ", "∨": r"\vee ",
    "→": r"\to ", "∣": "|", "≡": r"\equiv ", "＾": "^",
}  # fmt: skip
_SUPERSCRIPT = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
_SUBSCRIPT = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_SCRIPTS = re.compile(f"([{''.join(_SUPERSCRIPT)}]+)|([{''.join(_SUBSCRIPT)}]+)")

_OVERLINED = re.compile("(?:[0-9][\u0304\u0305\u0307])+")
# Not behind a backslash: in \\, a row ends, and a comma follows.
_SPACES = re.compile(
    r"(?<!\\)\\[,:; >\n!]|~|\\(?:thinspace|medspace|thickspace|enspace|enskip|null|noindent"
    r"|strut|allowbreak|relax|nolimits|limits|displaystyle|textstyle|scriptstyle|left\.?"
    r"|right(?![a-z])\.?|[bB]igg?[lrm]?|,)(?![A-Za-z])|\\h?space\*?\{[^{}]{0,20}\}"
    r"|\\[hv]?phantom(?:\{[^{}]{0,20}\}|(?![A-Za-z]))"
)
_MATH_MARKS = re.compile(r"\\[()]|(?<!\\)\\\[|(?<!\\)\\\]|(?<!\\)\$")
_RENAMES = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "leq": "le", "leqslant": "le",
    "geq": "ge", "geqslant": "ge", "neq": "ne", "lt": "<", "gt": ">", "varnothing": "emptyset",
    "textdegree": "^\\circ ", "degree": "^\\circ ", "degrees": "^\\circ ", "ast": "*",
    "infin": "infty", "dots": "ldots", "cdots": "ldots", "dotsc": "ldots", "dotsb": "ldots",
    "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]", "lvert": "|", "rvert": "|",
    "vert": "|", "mid": "|", "div": "/", "slash": "/", "tbinom": "binom", "dbinom": "binom",
    "centerdot": "cdot", "bullet": "cdot", "land": "wedge", "lor": "vee",
    "and": "wedge", "textasciicircum": "^", "colon": ":", "percent": "%", "backslash": "setminus",
    "smallsetminus": "setminus", "bigcup": "cup", "bigcap": "cap", "newline": " ",
    "lang": "langle", "rang": "rangle", "mod": "bmod", "R": "mathbb{R}", "lnot": "neg",
    "qquad": "quad", "mathds": "mathbb", "varphi": "phi", "varepsilon": "epsilon",
    "doteq": "approx", "coloneqq": "=", "triangleq": "=", "approxeq": "approx", "simeq": "approx",
    "imath": " i", "jmath": " j", "oslash": "emptyset", "lparen": "(", "rparen": ")", "plus": "+",
}  # fmt: skip
_WRAPPERS = (
    "mathit", "mathnormal", "mathsf", "mathtt", "boldsymbol", "bm", "underline", "mathstrut",
    "boxed", "fbox", "ensuremath", "displaylines", "mathop", "mathord", "mathopen", "mathclose",
    "mathbin", "emph", "pmb", "mathscr", "mathfrak", "vec", "overrightarrow", "bold", "hbox",
    "smash", "mathring", "hat", "widehat", "tilde",
)  # fmt: skip
_TEXTS = (
    "textbf", "textit", "textrm", "textsf", "texttt", "textsc", "textnormal", "mbox", "mathrm",
    "mathbf", "operatorname", "rm", "bf", "it", "textup", "textmd",
)  # fmt: skip
_MACRO = re.compile(r"\\([A-Za-z]+)\*?(?![A-Za-z])")
_WRAPPER = re.compile(r"\\(?:" + "|".join(_WRAPPERS) + r")(?![A-Za-z])")
_TEXT = re.compile(r"\\(?:" + "|".join(_TEXTS) + r")\*?(?![A-Za-z])\s*(?=\{)")
# Switches such as {\rm cm} have no argument in braces: they go, what they switch stays.
_TEXT_BARE = re.compile(r"\\(?:rm|bf|it|sf|tt|mathrm|mathbf|mbox|textbf)(?![A-Za-z])")
_COLOUR = re.compile(r"\\(?:text)?color\s*(?:\[[a-zA-Z]{0,10}\])?\s*\{[^{}]{0,40}\}")
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z]{2,}|[{}%$])")
_THOUSANDS_MARK = re.compile(r"(?<=\d)(?:\{,\}|,\s?\\!|\\!,|\\,|\\!)\s?(?=\d{3}(?!\d))")
_PREAMBLE = re.compile(
    r"^(?:(?:the|final|correct)\s+){0,3}answer\s*(?:is\b|:|=)\s*:?", re.IGNORECASE
)
_DECIMAL_DOTS = re.compile(r"(\.\d+)\.\.\.")
_FIGURES = re.compile(r"[\d\s.,/+\-*^%$\\]*")
# A vector's name: as \text{k} it could be the unit behind a number.
_BOLD_LETTER = re.compile(r"\\mathbf\s*\{\s*([A-Za-z])\s*\}")
_VECTOR = (
    r"\\(?:vec|overrightarrow|mathbf|boldsymbol|bm|bold|pmb|hat|widehat)\s*"
    r"(?:\{\s*\\?[A-Za-z][^{}]{0,40}\}|[A-Za-z](?![A-Za-z]))(?:\s*[_^]\s*(?:\w|\{[^{}]{0,40}\}))?"
)
# In these brackets is a vector too.
_VECTORS = rf"(?:{_VECTOR}|\([^()]{{0,80}}?{_VECTOR}[^()]{{0,80}}\))"
_CROSS = re.compile(rf"({_VECTORS})\s*\\times(?![A-Za-z])(?=\s*-?\s*\d*\s*{_VECTORS})")
_SET = r"\\(?:mathbb|mathcal)\s*(?:\{\s*[A-Z]\s*\}|[A-Z])(?:\s*[_^]\s*(?:[\w*+-]|\{[^{}]{0,40}\}))*"
_CARTESIAN = re.compile(rf"({_SET})\s*\\times(?![A-Za-z])(?=\s*{_SET})")
_SWITCHED = re.compile(
    r"\{\s*\\(?:rm|bf|it|sf|tt|mathrm)(?![A-Za-z])\s*([A-Za-z.\s/]+(?:\^\{?\d\}?)?)\s*\}"
)
_TEX_ARGUMENTS = re.compile(r"\\(frac|binom)\s*(\d)\s*(\d)")


@lru_cache(maxsize=512)  # a gold is compared with every response to its prompt
def normalise(text: str) -> str:
    """The answer in one spelling. Linear in the length of the text, never raises."""
    text = _characters(text)
    # Most answers are plain numbers, and pay for none of the ten patterns.
    if any(mark in text for mark in "\\$~{"):
        text = _macros(text)
    if "..." in text:
        # Else they would go with the full stop at the end.
        text = _DECIMAL_DOTS.sub(r"\1\\ldots ", text)
    # Figures and signs alone have one spelling.
    if not _FIGURES.fullmatch(text):
        text = respell(" ".join(text.split()))
    text = _PREAMBLE.sub("", " ".join(text.split()))
    if " " in text:
        text = without_sentence(text)
    return _trim(text)


def _characters(text: str) -> str:
    """Signs, Greek letters, vulgar fractions, scripts and digits of Unicode, in ASCII."""
    # Most answers are: no character needs a table.
    if text.isascii():
        return re.sub(r"[\x00-\x1f\x7f]", " ", text)
    text = _OVERLINED.sub(_overline, text)
    # Before single characters: a run such as x¹² is one exponent.
    text = _SCRIPTS.sub(_script, text)
    out = []
    for char in text:
        if char < "\x80":
            out.append(char if char >= " " and char != "\x7f" else " ")
        elif char in _SIGNS:
            out.append(_SIGNS[char])
        elif char in _GREEK:
            out.append(f"\\{_GREEK[char]} ")
        elif char in _VULGAR:
            above, below = _VULGAR[char]
            out.append(f"\\frac{{{above}}}{{{below}}}")
        else:
            out.append(_other(char))
    return "".join(out)


def _overline(match: re.Match[str]) -> str:
    """Digits with a combining line or dot above each: the period of a decimal."""
    return "\\overline{" + re.sub(r"\D", "", match.group()) + "}"


def _script(match: re.Match[str]) -> str:
    above, below = match.groups()
    if above:
        return "^{" + "".join(_SUPERSCRIPT[char] for char in above) + "}"
    return "_{" + "".join(_SUBSCRIPT[char] for char in below) + "}"


def _other(char: str) -> str:
    """Digits of any script, full-width letters, spaces; format marks vanish."""
    category = unicodedata.category(char)
    if category == "Nd":
        return str(unicodedata.decimal(char))
    # Zero-width spaces and marks of direction: unseen, they would part the digits of a number.
    if category == "Cf":
        return ""
    if category in ("Zs", "Zl", "Zp", "Cc"):
        return " "
    if "！" <= char <= "～":
        # Full-width forms stand in Unicode as in ASCII, 0xFEE0 further on.
        return chr(ord(char) - 0xFEE0)
    return char


def _macros(text: str) -> str:
    text = _THOUSANDS_MARK.sub("", text)  # first: as spaces they would separate the digits
    if "\\begin" not in text:  # there \\ ends a row; else it is \ escaped twice
        text = _DOUBLED.sub(r"\\", text)
    text = _SPACES.sub(" ", text)
    text = _MATH_MARKS.sub(" ", text)
    text = _COLOUR.sub(" ", text)
    text = _MACRO.sub(_rename, text)
    if "\\times" in text:
        # Before the wrappers go, by which vectors are known.
        text = _CROSS.sub(r"\1\\cross ", text)
        text = _CARTESIAN.sub(r"\1\\cartesian ", text)
    text = _BOLD_LETTER.sub(r" \1 ", text)
    text = _SWITCHED.sub(r"\\text{\1}", text)
    text = _TEXT.sub(r"\\text", text)
    # Behind _TEXT, which has taken those with an argument.
    text = _TEXT_BARE.sub(" ", text)
    text = _WRAPPER.sub(" ", text)
    return _TEX_ARGUMENTS.sub(r"\\\1{\2}{\3}", text)


def _rename(match: re.Match[str]) -> str:
    name = match.group(1)
    new = _RENAMES.get(name)
    if new is None:
        return match.group(0)
    return f"\\{new}" if new[0].isalpha() else new


def _trim(text: str) -> str:
    """Without enclosing braces, and without the full stop or comma that ends a sentence."""
    # Braces and stops enclose each other: {{5.}}.
    for _ in range(4):
        text = text.strip()
        stripped = text.rstrip(".,;:").strip()
        # The full stop of 6 a.m. belongs to it.
        text = stripped + "." if stripped[-3:].lower() in ("a.m", "p.m") else stripped
        depth = _outer_braces(text)
        if depth == 0:
            break
        text = text[depth:-depth]
    return text.strip()


def _outer_braces(text: str) -> int:
    """How many pairs of braces enclose the whole text."""
    opened = len(text) - len(text.lstrip("{"))
    if not opened or not text.endswith("}"):
        return 0
    # One pass: {1}{2} has no outer pair, and taking pairs off singly is quadratic for {{{{...
    depth, lowest, i = 0, opened, 0
    while i < len(text):
        char = text[i]
        if char == "\\":
            i += 2
            continue
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
        i += 1
        if i >= opened and i < len(text):
            lowest = min(lowest, depth)
            if depth < 0:
                return 0
    if depth != 0:
        return 0
    closed = len(text) - len(text.rstrip("}"))
    return max(0, min(opened, closed, lowest))
