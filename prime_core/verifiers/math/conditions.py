r"""Remarks behind an answer, such as 'for all odd n' and ', k \in \mathbb{Z}': when two contradict.

The remark is no part of the answer's value. Where both sides make one, the numbers that they speak
of have to be the same; where one side makes none, nothing is compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# What stands for an inequality's set of numbers, or None: parse.py's, which imports this file.
Region = Callable[[str], str | None]

_LEAD = re.compile(
    r"\b(?:for|where|with|when|whenever|such\s+that|given|provided|if|as\s+long\s+as)\b", re.I
)
_BEGINS = re.compile(r"[\s~,(]*" + _LEAD.pattern + r"\s*", re.IGNORECASE)
_QUANTIFIED = re.compile(
    r"\\in(?![A-Za-z])|\\mathbb|\b(?:all|any|every|each|some|integers?|reals?|positive|negative"
    r"|constants?|odd|even|primes?|naturals?|whole|rationals?|complex|non-?negative|non-?zero)\b"
)
# '5 for x > 0, 6 otherwise' gives two answers: cut at 'for', it would count as the first.
_ALTERNATIVE = re.compile(
    r"\b(?:or|else|otherwise|and)\b|\b(?:for|if|when)\b.*\b(?:for|if|when)\b|;"
    r"|,\s*[^,=<>]*[\d+*/^][^,=<>]*$",
    re.DOTALL,
)
_ROWS = re.compile(r"&|\\\\|\\end(?![A-Za-z])")
_LIMIT = re.compile(r"[<>]|\\(?:le|ge|ne)(?![A-Za-z])|!=")
_MEMBER = re.compile(
    r"(?<=.)(?:[,;(]|\\quad)\s*\(?\s*[A-Za-z](?:_\w)?(?:\s*,\s*[A-Za-z](?:_\w)?)*"
    r"\s*\\in\s*\\mathbb"
)
_PARTS = (",", ";", "(", "\\quad")
_RELATION = r"(?:\\(?:le|ge|ne|lt|gt)(?![A-Za-z])|[<>]=?|!=|=)"
_INEQUALITY = re.compile(rf"[^\s,;{{}}]+\s*(?:{_RELATION}\s*[^\s,;{{}}]+\s*)+")
# k in Z, with a plain letter for the set.
_BARE_SET = re.compile(r"\\in(?![A-Za-z])\s*([ZNRQ])(?![A-Za-z_^({\\])")
_SETS = {"Z": "integer", "N": "natural", "R": "real", "Q": "rational", "C": "complex"}
_NUMBER_SETS = frozenset([*_SETS.values(), "whole"])
_SILENT_WORDS = (
    "all any every each some arbitrary is are be being an the of in and that such for where with "
    "when whenever given if provided as long constant number value parameter only both let text "
    "mathbb quad belong to denote which have we can may"
)
_SILENT = frozenset(_SILENT_WORDS.split())
_INDEX = re.compile(
    r"(?<![A-Za-z\\])([A-Za-z])\s*\\in\s*\\mathbb\s*\{?\s*[ZN]"
    r"|\bintegers?\b[\s}$]*([A-Za-z])(?![A-Za-z])"
    r"|(?<![A-Za-z\\])([A-Za-z])[\s$]*(?:\\text\s*\{)?\s*is\s+an?\s+(?:\w+\s+)?integer"
)
_WORD = re.compile(r"[A-Za-z]{2,}|\d+")


def begins(words: str, rest: str) -> bool:
    r"""Whether these words begin a remark such as 'for k \in \mathbb{Z}' or 'for all x'."""
    if not _BEGINS.match(words):
        return False
    # Bounded: every 'for' of a long text asks.
    rest = words + rest[:200]
    # In a function by cases the condition is part of the function.
    if _ROWS.search(rest):
        return False
    limited = _QUANTIFIED.search(rest) or _LIMIT.search(rest)
    return bool(limited) and not _ALTERNATIVE.search(rest)


def contradict(one: str, other: str, region: Region) -> bool:
    """Whether two normalised answers make remarks on different numbers.

    region: the set of an inequality's numbers, as text.
    """
    first = _remark(one)
    if first is None:
        return False
    second = _remark(other)
    if second is None:
        return False
    sets, limits = _said(first, region)
    other_sets, other_limits = _said(second, region)
    # 'for all x' says nothing of x.
    if not (sets or limits) or not (other_sets or other_limits):
        return False
    if limits != other_limits:
        return True
    return bool(sets and other_sets and sets != other_sets)


def has_remark(text: str) -> bool:
    """Whether a normalised answer ends in such a remark."""
    return _remark(text) is not None


def index(text: str) -> str | None:
    r"""The k of 'k \in \mathbb{Z}' or 'for all integers k', which may have any name."""
    remark = _remark(text)
    found = _INDEX.findall(remark) if remark else []
    return "".join(found[0]) if len(found) == 1 else None


def _remark(text: str) -> str | None:
    """The remark at the end of an answer; None without one."""
    text = _BARE_SET.sub(r"\\in \\mathbb{\1}", text)
    member = _MEMBER.search(text)
    for lead in _LEAD.finditer(text, 1):
        if member is not None and member.start() < lead.start():
            break
        if begins(lead.group(), text[lead.end() :]):
            return text[lead.start() :]
    return _limit(text) if member is None else text[member.start() :]


def _limit(text: str) -> str | None:
    r"""The ', x \ne 1' or '(x > 0)' behind a value; None where the first part is an inequality."""
    found = _LIMIT.search(text)
    if found is None or _ROWS.search(text):
        return None
    value, part, rest = max(
        (text[: found.start()].rpartition(part) for part in _PARTS), key=lambda parts: len(parts[0])
    )
    return (rest + text[found.start() :]).strip("() ") if part and value.strip() else None


def _said(remark: str, region: Region) -> tuple[frozenset[str], frozenset[str]]:
    """Number sets that a remark names, and what else it says: odd, positive, n >= 5."""
    remark = re.sub(r"\\mathbb\s*\{?\s*([ZNRQC])\s*\}?", lambda m: f" {_SETS[m[1]]} ", remark)
    remark = re.sub(r"\\text\s*\{|[{}~$]", " ", remark)
    limits: set[str] = set()
    for inequality in _INEQUALITY.findall(remark):
        limits.add(region(inequality.strip(" .)")) or "".join(inequality.split()))
    words = _INEQUALITY.sub(" ", remark).replace("non-", "non").replace("^+", " positive ")
    words = re.sub(r"\\[A-Za-z]+", " ", words)
    found = {word.lower() for word in _WORD.findall(words)}
    found = {w[:-1] if w.endswith("s") and len(w) > 3 else w for w in found} - _SILENT
    if "natural" in found:
        found = found - {"natural"} | {"positive", "integer"}
    if "whole" in found:
        found = found - {"whole"} | {"nonnegative", "integer"}
    return frozenset(found & _NUMBER_SETS), frozenset(limits | (found - _NUMBER_SETS))
