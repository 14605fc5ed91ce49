r"""Parts of the named sets of numbers: \mathbb{R}^+, \mathbb{R}_{\ge 0}, \mathbb{Z}_{>0}.

Read on from behind the letter. In: a Reader there. Out: an interval where the part is one, a name
of its own where it is not; None where what follows is no such mark (\mathbb{R}^2), and then nothing
has been read.
"""

from __future__ import annotations

from fractions import Fraction

from prime_core.verifiers.math.numerals import raw_group
from prime_core.verifiers.math.tree import Node, Reader

_ZERO: Node = ("num", Fraction(0))
_INFINITY: Node = ("inf",)
_MARKS = {
    "+": "+", "++": "+", ">0": "+", "+*": "+", "*+": "+", "-": "-", "--": "-", "<0": "-",
    "-*": "-", "*-": "-", "ge0": "0+", ">=0": "0+", "+0": "0+", "0+": "0+", "le0": "0-",
    "<=0": "0-", "-0": "0-", "0-": "0-", "*": "*", "ne0": "*", "times": "*", "ge1": "ge1",
    ">=1": "ge1", "0": "0",
}  # fmt: skip
_REALS = {
    "+": ("seq", "()", _ZERO, _INFINITY), "0+": ("seq", "[)", _ZERO, _INFINITY),
    "-": ("seq", "()", ("neg", _INFINITY), _ZERO), "0-": ("seq", "(]", ("neg", _INFINITY), _ZERO),
    "*": ("minus", ("sym", "mathbb_R"), ("set", _ZERO)),
}  # fmt: skip
# Whole numbers from one and from zero on; whether 0 is in N itself is told differently.
_WHOLE = {
    "Z": {"+": "Z+", "ge1": "Z+", "0+": "Z0+", "-": "Z-", "0-": "Z0-", "*": "Z*"},
    "N": {"+": "Z+", "ge1": "Z+", "*": "Z+", "0": "Z0+", "0+": "Z0+"},
    "Q": {"+": "Q+", "0+": "Q0+", "-": "Q-", "0-": "Q0-", "*": "Q*"},
}


def part(p: Reader, letter: str) -> Node | None:
    """The part of a number set that its indices name."""
    start = p.position
    marks = ""
    while p.name() in ("^", "_") and len(marks) < 8:
        p.position += 1
        marks += raw_group(p)
    # From the longest reading on: with both scripts the order is free.
    mark = _MARKS.get(marks)
    if mark and letter == "R" and mark in _REALS:
        return _REALS[mark]
    if mark and mark in _WHOLE.get(letter, {}):
        return ("sym", f"mathbb_{_WHOLE[letter][mark]}")
    p.position = start
    return None
