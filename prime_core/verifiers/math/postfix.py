r"""Signs behind a complete atom or power: factorials, percent, degrees with minutes, primes.

Read on from the position of a Reader. In: the tree so far. Out: the tree with the signs.
"""

from __future__ import annotations

from fractions import Fraction

from prime_core.verifiers.math.numerals import number
from prime_core.verifiers.math.tokens import TooLong
from prime_core.verifiers.math.tree import Node, Reader


def after_postfix(p: Reader, node: Node) -> Node:
    """The signs that follow a complete atom or power."""
    # Each sign nests the tree deeper without passing through item(), which counts.
    for _ in range(8):
        name = p.name()
        if name == "!":
            node = _factorial(p, node)
        elif name in ("\\%", "%"):
            node = ("pct", node)
        elif name == "'":
            node = ("sym", f"{node[1]}'") if node[0] == "sym" else ("call", "'", node)
        elif name == "^" and p.name(1) == "\\circ":
            p.position += 1
            node = _degrees(p, node)
        elif name == "^" and p.name(1) == "{" and p.name(2) == "\\circ" and p.name(3) == "}":
            p.position += 3
            node = _degrees(p, node)
        elif name == "^" and p.name(1) == "\\prime":
            p.position += 1
            node = ("call", "'", node)
        else:
            return node
        p.position += 1
    raise TooLong("too many postfix signs")


def _factorial(p: Reader, node: Node) -> Node:
    """n!, or with several signs side by side n!!, the product of every second number."""
    step = 1
    while p.name(1) == "!" and not p.peek(1).spaced and step < 8:
        p.position += 1
        step += 1
    return ("fact", node) if step == 1 else ("fact", node, step)


def _degrees(p: Reader, node: Node) -> Node:
    """Degrees of an angle with its minutes and seconds, or of the scale behind the sign."""
    scale = p.peek(1)
    if scale.value in ("C", "F") and scale.kind in ("letter", "text"):
        p.position += 1
        return ("qty", node, {"C": "celsius", "F": "fahrenheit"}[scale.value])
    for kind, part in ((1, 60), (2, 3600)):
        value = p.peek(1)
        marks, width = _primes(p, 2)
        if value.kind == "number" and marks == kind:
            share = ("div", ("num", number(value.value)), ("num", Fraction(part)))
            node = ("add", node, share)
            p.position += 1 + width
    return ("deg", node)


def _primes(p: Reader, ahead: int) -> tuple[int, int]:
    r"""1 for the mark of minutes, 2 for that of seconds, 0 for neither; and its tokens."""
    if p.name(ahead) == '"':
        return 2, 1
    marks = width = 0
    while marks < 2:
        names = [p.name(ahead + width + i) for i in range(5)]
        if names[0] == "'":
            marks, width = marks + 1, width + 1
        elif names[:2] == ["^", "\\prime"]:
            marks, width = marks + 1, width + 2
        elif names[:4] == ["^", "{", "\\prime", "}"]:
            marks, width = marks + 1, width + 4
        elif names == ["^", "{", "\\prime", "\\prime", "}"]:
            return marks + 2, width + 5
        else:
            break
    return marks, width
