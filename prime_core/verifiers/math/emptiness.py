r"""Answers that say there is none: \emptyset, \{\}, 'no solution', 'there are no real roots', DNE.

In: two normalised answers. Out: True where both say it of the same thing, else None: other rules
decide then.
"""

import re
from functools import lru_cache

_ADJECTIVE = (
    r"(?P<of>real|integer|integral|rational|irrational|positive|negative|complex|natural|whole"
    r"|prime|nonzero|non-zero|non-trivial|nontrivial)"
)
_NOUN = (
    r"(?:solutions?|roots?|values?|answers?|numbers?|integers?|pairs?|triples?|zeros?|zeroes"
    r"|intersections?|functions?|polynomials?|primes?|intercepts?|x-intercepts?|asymptotes?)"
)
_NO_SOLUTION = re.compile(
    rf"(?:(?:so|thus|therefore|hence),?\s+)?(?:(?:there\s+(?:is|are|exists?)|(?:the\s+)?(?:equation"
    rf"|system|inequality|it)\s+has)\s+)?no\s+(?:such\s+|possible\s+|valid\s+)?(?:{_ADJECTIVE}\s+)?"
    rf"{_NOUN}(?:\s+exists?)?"
    r"|none|(?:the\s+)?(?:empty|null)(?:\s+set)?|(?:(?:the\s+)?system\s+is\s+)?inconsistent"
    r"|无解|無解|空集|解なし|нет\s+решений|решений\s+нет|нет\s+корней|корней\s+нет"
    r"|пустое\s+множество|keine\s+lösung(?:en)?|leere\s+menge|aucune\s+solution"
    r"|pas\s+de\s+solutions?"
    r"|(?:l')?ensemble\s+vide|sin\s+solución|no\s+hay\s+solución|no\s+tiene\s+solución"
    r"|conjunto\s+vacío|nessuna\s+soluzione|sem\s+solução"
)
_NOT_THERE = re.compile(
    r"(?:(?:the\s+)?limit\s+)?(?:does\s+not|doesn't)\s+exist|d\.?n\.?e|не\s+существует|不存在"
    r"|existiert\s+nicht|n'existe\s+pas|no\s+existe"
)
_EMPTY_SET = re.compile(
    r"(?:[A-Za-z]\s*(?:=|\\in(?![A-Za-z]))\s*)?(?:\\emptyset|\\\{\s*\\\}|Ø)\s*", re.ASCII
)
_TEXT_GROUP = re.compile(r"\\text\s*\{([^{}\\]{0,200})\}")
_MAX_CHARS = 200


def same_nothing(answer: str, gold: str) -> bool | None:
    """True where both say that there is none, of the same kind where both name one."""
    one = _kind(gold)
    other = _kind(answer) if one else None
    if one is None or other is None or one[0] != other[0]:
        return None
    return True if one[1] == other[1] or not (one[1] and other[1]) else None


@lru_cache(maxsize=512)  # a gold is compared with every response to its prompt
def _kind(text: str) -> tuple[str, str] | None:
    """Whether nothing is said to be a solution or to exist, and of what: ('solution', 'real')."""
    if len(text) > _MAX_CHARS:
        return None
    if _EMPTY_SET.fullmatch(text):
        return "solution", ""
    plain = " ".join(_TEXT_GROUP.sub(r" \1 ", text).split()).strip(" .")
    # 'No solution: \emptyset' says it twice.
    words, _, sign = plain.rpartition(":")
    if words and _EMPTY_SET.fullmatch(sign.strip()):
        plain = words.strip()
    match = _NO_SOLUTION.fullmatch(plain.lower())
    if match:
        return "solution", (match["of"] or "").replace("-", "")
    return ("existence", "") if _NOT_THERE.fullmatch(plain.lower()) else None
