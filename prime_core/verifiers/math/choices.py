r"""Multiple choice in more words: 'Option B', 'So the answer is (B)', AC for A, C, 'B. 12' for 12.

In: two normalised answers. Out: True or False where both name options, None where they do not.
"""

import re

from prime_core.verifiers.math import exact

_LEAD = re.compile(
    r"(?:(?:so|thus|therefore|hence|and),?\s+)?(?:the\s+)?(?:(?:correct|right|final|best|only)\s+)*"
    r"(?:answers?|options?|choices?|letters?)\b(?:\s+(?:is|are|would be|must be))?\s*:?\s*"
    r"(?:(?:the\s+)?(?:options?|choices?|letters?|answers?)\b\s*)?(?=\S)",
    re.IGNORECASE,
)
_TAIL = re.compile(
    r"\s*(?:is|are)\s+(?:the\s+)?(?:correct|right)(?:\s+(?:answers?|options?|choices?))?"
)
_LETTERS = re.compile(
    r"\(?[A-J]\)?(?:(?:\s*[,;&]\s*(?:and\s+)?|\s+and\s+|\s+)\(?[A-J]\)?)*|[A-J]{2,6}"
)
_CONTENT = re.compile(
    r"(?:\\text\s*\{\s*(?:\([A-J]\)|[A-J][).:])\s*\}\s*|(?:\([A-J]\)|[A-J]\)|[A-J][.:]\s)\s*)"
    r"(?P<rest>\S.*)"
    r"|\\text\s*\{\s*(?:\([A-J]\)|[A-J]\)|[A-J][.:]\s)\s*(?P<inside>[^{}]+)\}",
    re.DOTALL,
)


def same_choices(answer: str, gold: str) -> bool | None:
    """Options compared as sets of letters, where the gold is one or several."""
    wanted = _options(gold)
    if wanted is None:
        return None
    plain = exact.without_text(answer).strip(" .")
    named = _without_words(plain)
    given = _options(named) or (_single(named) if named != plain else None)
    if given is None:
        return None
    # AC alone may be a product or a segment: only equality says something.
    certain = len(wanted) > 1 and not (_joined(gold) or _joined(named))
    return given == wanted if given == wanted or certain or named != plain else None


def content(answer: str, gold: str) -> str | None:
    """The 12 of 'B. 12', where the gold is no letter."""
    if exact.named_choice(answer) is None or _options(gold) or exact.named_choice(gold):
        return None
    match = _CONTENT.fullmatch(answer)
    return match and (match["rest"] or match["inside"])


def _without_words(plain: str) -> str:
    lead = _LEAD.match(plain)
    rest = plain[lead.end() :] if lead else plain
    tail = _TAIL.search(rest)
    return (rest[: tail.start()] if tail and tail.end() == len(rest) else rest).strip(" .")


def _options(text: str) -> frozenset[str] | None:
    plain = exact.without_text(text).strip(" .")
    if not _LETTERS.fullmatch(plain):
        return None
    letters = re.findall(r"[A-J]", plain)
    # Options are named in their order: BA is a product.
    if len(set(letters)) != len(letters) or (_joined(plain) and letters != sorted(letters)):
        return None
    return frozenset(letters)


def _joined(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Z]{2,}", exact.without_text(text).strip(" .")))


def _single(named: str) -> frozenset[str] | None:
    """The letter of 'option b', and of 'Option B: 12'."""
    if re.fullmatch(r"\(?[a-j]\)?", named):
        return frozenset(named.strip("()").upper())
    letter = exact.named_choice(named)
    return frozenset(letter) if letter else None
