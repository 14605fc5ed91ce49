r"""One answer against one gold answer: text, numbers, words, algebra, in that order.

In: two answers as written. Out: a Comparison that names the rule that decided. What this file
does not read is left open (same is None), for the fallback.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from prime_core.verifiers.math import choices, conditions, exact, steps
from prime_core.verifiers.math.approximate import rounds_to, within
from prime_core.verifiers.math.emptiness import same_nothing
from prime_core.verifiers.math.equal import equal
from prime_core.verifiers.math.evaluate import NotANumber, Work, names
from prime_core.verifiers.math.intervals import Region, as_region
from prime_core.verifiers.math.normalise import normalise
from prime_core.verifiers.math.parse import parse
from prime_core.verifiers.math.rationals import TooLarge, TooMuchWork
from prime_core.verifiers.math.relations import renamed
from prime_core.verifiers.math.tree import Node, nodes
from prime_core.verifiers.math.values import CannotTell

_NAMED_REGIONS: dict[Region, str] = {
    ((0, False, math.inf, False),): "positive",
    ((1, True, math.inf, False),): "positive",  # among whole numbers, of which remarks speak
    ((0, True, math.inf, False),): "nonnegative",
    ((-math.inf, False, 0, False),): "negative",
    ((-math.inf, False, 0, False), (0, False, math.inf, False)): "nonzero",
}
_GROUPED = re.compile(r"\d,\d{3}(?!\d)")
_GROUPS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)", re.ASCII)
_RULES = (
    # Before algebra, which would read 10:30 as a ratio and the choice C as a variable.
    (exact.same_based, "numerals"),
    (exact.same_clock, "times of the day"),
    (exact.same_choice, "choices"),
    (choices.same_choices, "choices"),
    (same_nothing, "answers that there is none"),
)
_ORDERED_TYPES = frozenset(["tuple", "vector", "ordered", "interval"])
_TEXT_TYPES = frozenset(["text", "choice", "multiple_choice", "string"])


@dataclass(frozen=True)
class Comparison:
    """same: True, False, or None where undecided. readable: the answer is mathematics or words."""

    same: bool | None
    how: str
    readable: bool = True


def compare(
    answer: str, gold: str, answer_type: str | None = None, tolerance: float | None = None
) -> Comparison:
    """Compare two answers. answer_type and tolerance come from the data row, where it has them."""
    # A counter of the class: a process judges one row at a time.
    Work.left = Work.ALLOWED
    try:
        return _compare(answer, gold, answer_type or "", tolerance)
    except (TooLarge, TooMuchWork) as error:
        # False, not None: math-verify would hang on what we refuse to evaluate.
        return Comparison(False, f"too large to evaluate: {error}", readable=False)


def _compare(answer: str, gold: str, answer_type: str, tolerance: float | None) -> Comparison:
    # First, on the raw text: most golds are plain numbers, and need no normalising.
    number = exact.same_number(answer, gold)
    # 1/3 is not 0.33, but may be what 0.33 was rounded from: _trees decides.
    rounded = "." in gold and ("/" in answer or "frac" in answer)
    if number or (number is False and not tolerance and not rounded):
        return Comparison(number, "numbers compared exactly")
    answer, gold = normalise(answer), normalise(gold)
    if not gold or not answer:
        return Comparison(False, "the gold answer is empty" if not gold else "an empty answer")
    if exact.same_text(answer, gold):
        return Comparison(True, "the same text")
    # Before algebra, which compares exactly and would call 3.142 for 3.14159 wrong.
    if tolerance:
        close = within(parse(answer), parse(gold), tolerance)
        if close is not None:
            return Comparison(close, f"numbers compared within {tolerance:g}, relative")
    for rule, name in _RULES:
        decided = rule(answer, gold)
        if decided is not None:
            return Comparison(decided, f"{name} compared")
    # 'B. 12' says what B. stands for.
    inner = choices.content(answer, gold)
    if inner:
        result = _compare(inner, gold, answer_type, tolerance)
        if result.same:
            return result
    # As algebra, words are products of letters, and ab equals ba.
    wordy = exact.is_wordy(gold) and not conditions.has_remark(gold)
    if wordy or answer_type.lower() in _TEXT_TYPES:
        return Comparison(exact.words(answer) == exact.words(gold), "words compared")
    return _algebra(answer, gold, answer_type.lower() in _ORDERED_TYPES)


def _algebra(answer: str, gold: str, ordered: bool) -> Comparison:
    result = Comparison(None, "")
    # Where a side may be read in two ways, any reading under which both are equal will do.
    for one in _readings(answer):
        for other in _readings(gold):
            trees = parse(answer, one), parse(gold, other)
            result = _trees(*trees, answer, gold, ordered)
            if result.same:
                return result
    return result


def _readings(text: str) -> tuple[bool, ...]:
    """How parse() may read commas between digits: as thousands (True), as separators (False).

    1,234 is one number. Only beside a comma that parts items without a space, as in 1,100,-5, may
    it be two: a list whose writer leaves out spaces.
    """
    if not _GROUPED.search(text):
        return (True,)
    others = _GROUPS.sub("", text)
    return (True, False) if re.search(r",\S", others) else (True,)


def _trees(
    one: Node | None, other: Node | None, answer: str, gold: str, ordered: bool
) -> Comparison:
    if one is None and exact.is_wordy(answer):
        return Comparison(exact.words(answer) == exact.words(gold), "words, but the gold is not")
    # Before math-verify, which reads the last member of a chain alone.
    if steps.unread_contradict(answer) if one is None else steps.contradict(one, other):
        return Comparison(False, "a chain whose members differ")
    if one is None or other is None:
        unread = "answer" if one is None else "gold answer"
        return Comparison(None, f"the {unread} cannot be parsed", one is not None)
    try:
        if equal(_indexed(one, answer, gold), other, ordered):
            if conditions.contradict(answer, gold, _numbers):
                return Comparison(False, "equal as expressions, under different conditions")
            return Comparison(True, "equal as expressions")
        if rounds_to(one, other, answer, gold):
            return Comparison(True, "the gold is a decimal approximation of the answer")
    except (CannotTell, NotANumber) as error:
        # Nothing is gained by asking math-verify: may_read() refuses prose.
        if _has_words(one) and not _has_words(other):
            return Comparison(False, "words, but the gold is mathematics")
        return Comparison(None, f"undecided: {error}")
    return Comparison(False, "different as expressions")


def _indexed(answer: Node, answer_text: str, gold_text: str) -> Node:
    """The answer with the gold's index: 2n pi for all integers n is 2k pi for all integers k."""
    name = conditions.index(answer_text)
    wanted = conditions.index(gold_text) if name else None
    if name is None or wanted is None or name == wanted or wanted in names(answer):
        return answer
    return renamed(answer, name, wanted)


def _numbers(inequality: str) -> str | None:
    """The reals of an inequality in one variable, by name where there is a word for them."""
    node = parse(inequality)
    region = as_region(node) if node is not None and node[0] == "rel" else None
    return None if region is None else _NAMED_REGIONS.get(region, str(region))


def _has_words(node: Node) -> bool:
    return any(part[0] == "text" for part in nodes(node))


def is_list(gold: str) -> bool:
    """Whether a gold answer has several parts in no order."""
    node = parse(gold)
    return node is not None and node[0] in ("list", "set")
