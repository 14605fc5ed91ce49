r"""What stands between operators: names, groups, fractions, roots, functions, matrices.

Each function reads on from the position of a Reader (the parser of parse.py) and returns a tree,
or raises ParseError. They are functions, not methods, so that parse.py shows the outline of the
grammar alone.
"""

from __future__ import annotations

import re
from fractions import Fraction

from prime_core.verifiers.math import number_sets
from prime_core.verifiers.math.derivatives import derivative
from prime_core.verifiers.math.numerals import numeral, raw_group
from prime_core.verifiers.math.piecewise import LEADS, by_cases
from prime_core.verifiers.math.postfix import after_postfix
from prime_core.verifiers.math.tokens import END, MAX_TOKENS, ParseError
from prime_core.verifiers.math.tree import Node, Reader
from prime_core.verifiers.math.units import SINGLE_LETTERS, UNITS

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar "
    "aleph vartheta varsigma varrho varpi"
)
GREEK = frozenset(_GREEK.split())
_CONSTANTS = {"infty": ("inf",), "emptyset": ("set",), "ldots": ("sym", "..."), "i": ("sym", "i"),
              "partial": ("sym", "\\partial")}  # fmt: skip
_NAMED = frozenset(["angle", "triangle", "overline", "bar", "widetilde", "overrightarrow", "arc"])
_FACTOR_MACROS = GREEK | _NAMED | {
    "frac", "sqrt", "binom", "infty", "lfloor", "lceil", "mathbb", "mathcal", "begin", "sum",
    "prod", "Gamma", "langle", "text", "emptyset", "partial",
}  # fmt: skip
_MATRICES = frozenset([
    "pmatrix", "bmatrix", "matrix", "array", "smallmatrix", "Bmatrix", "vmatrix",
])  # fmt: skip
# Lines of several answers. Derivations are chains by now: spellings.py.
_ROWS = frozenset(["cases", "dcases", "rcases"])


# x_{{1}} is x_1, as OCR and many textbooks write it.
_INNER_BRACES, _BARE = re.compile(r"\{(\w)\}(?!\w)"), r"\1"


def starts_factor(p: Reader) -> bool:
    """Whether the next token begins a factor that multiplies without a sign."""
    token = p.peek()
    if token.kind in ("letter", "function"):
        return True
    if token.kind == "macro":
        return token.value in _FACTOR_MACROS
    if token.kind == "number":
        # Not behind a letter or a number: 3x4 may be meant as 3 times 4, and 5 5 is no 25.
        before = p.peek(-1)
        return before.value in (")", "}", "!") or (before.kind == "macro" and not token.spaced)
    if token.kind == "text":
        # One letter in \text is a name, unless it may be the unit behind a number: 5 \text{m}.
        # A counter such as 个 is no name.
        if len(token.value) != 1 or not token.value.isascii():
            return False
        return not (token.value in SINGLE_LETTERS and _at_item_end(p))
    if token.value == "|":
        # Where a bar is open the next one closes it: |a|b|c| is |a| times b times |c|.
        return not p.bars and not p.sets
    if token.value == "[":
        return _groups(p)
    return token.value in ("(", "{")


def _groups(p: Reader) -> bool:
    """Whether the square bracket here encloses one factor: no interval, and closed as opened."""
    depth = 0
    for ahead in range(MAX_TOKENS):
        token = p.peek(ahead)
        if token.value in ("(", "[", "{", "\\{"):
            depth += 1
        elif token.value in (")", "]", "}", "\\}"):
            depth -= 1
            if depth == 0:
                return token.value == "]"
        elif token is END or (depth == 1 and (token.kind == "sep" or token.value in ",;")):
            return False
    return False


def _at_item_end(p: Reader) -> bool:
    following = p.peek(1)
    if following.kind == "number":  # 2 m 30 cm
        return True
    if p.name(1) == "\\cdot":  # N \cdot m
        return p.peek(2).kind == "text" and p.peek(2).value.lower() in UNITS
    return following is END or p.name(1) in ("^", "/", ",", ";", ")") or following.kind == "sep"


def postfix(p: Reader) -> Node:
    """Postfix := atom ('!' | '%' | degree | prime)*."""
    return after_postfix(p, atom(p))


def atom(p: Reader) -> Node:
    """One number, name, group, fraction, root, function or matrix."""
    token = p.peek()
    if token.kind == "number":
        return numeral(p)
    if token.kind == "letter":
        return _letter(p)
    if token.kind == "function":
        return _function(p)
    if token.kind == "macro":
        return _macro(p)
    if token.kind == "text":
        p.position += 1
        is_name = len(token.value) == 1 and token.value.isascii()
        return subscripted(p, token.value) if is_name else ("text", token.value)
    if p.name() in ("(", "[", "\\{", "{"):
        return _group(p)
    if p.name() in ("|", "\\|"):
        return _absolute(p)
    raise ParseError(f"unexpected {token.value!r}")


def _letter(p: Reader) -> Node:
    token = p.take()
    name = token.value
    if name in ("f", "g"):  # functions; any other letter before a bracket is a factor
        inverse = [p.name(0), p.name(1), p.name(2), p.peek(3).value, p.name(4), p.name(5)]
        if inverse == ["^", "{", "-", "1", "}", "("]:
            p.position += 5
            name += "^-1"
        opening = p.name(1) if p.name() == "{" else p.name()  # f(x), f{(x)}
        if opening == "(" and not p.peek().spaced:
            return ("call", name, _group(p))
    # Plain text writes x_2 as x2.
    following = p.peek()
    if following.kind == "number" and not following.spaced and following.value.isdigit():
        p.position += 1
        return ("sym", f"{name}_{following.value}")
    return subscripted(p, name)


def subscripted(p: Reader, name: str) -> Node:
    """A name with its subscript, which is part of the name."""
    if p.name() == "_":
        p.position += 1
        return ("sym", f"{name}_{_INNER_BRACES.sub(_BARE, raw_group(p))}")
    return ("sym", name)


def braced(p: Reader) -> Node:
    """The argument of a macro: a group in braces or one token."""
    if p.name() == "{":
        p.position += 1
        node = p.items()
        p.expect("}")
        return node
    return atom(p)


def _group(p: Reader) -> Node:
    opening = p.take().value
    saved = p.brackets, p.bars, p.sets
    # Inside brackets a bar opens again, as in |(|x| + 1)|.
    p.bars, p.sets = 0, int(opening == "\\{")
    # A brace only groups: 1,234 in it may still be one number.
    if opening != "{":
        p.brackets += 1
    if opening == "\\{" and p.name() == "\\}":
        p.position += 1
        p.brackets, p.bars, p.sets = saved
        return ("set",)
    node = p.items()
    if opening == "\\{" and p.name() in ("|", ":"):
        p.position += 1
        p.sets = 0
        node = ("builder", node, p.items())
    closing = p.take().value
    p.brackets, p.bars, p.sets = saved
    closed = _closed(opening, closing, node)
    # {x}_{1} is x_1.
    if opening == "{" and p.name() == "_" and closed[0] == "sym" and "_" not in closed[1]:
        return subscripted(p, closed[1])
    return closed


def _closed(opening: str, closing: str, node: Node) -> Node:
    if node[0] in ("and", "or") and opening in ("(", "[", "{"):
        return node  # (p or q) and r
    items = node[1:] if node[0] in ("list", "and", "or") else (node,)
    if opening == "{" and closing == "}":
        # Braces that print nothing make no sense around several items: \{ has lost its backslash.
        return ("set", *items) if len(items) > 1 else node
    if opening == "\\{" and closing == "\\}":
        return node if node[0] == "builder" else ("set", *items)
    if opening not in ("(", "[") or closing not in (")", "]"):
        raise ParseError(f"{opening} is closed by {closing}")
    if len(items) == 1 and node[0] != "rel":
        return node
    return ("seq", opening + closing, *items)


def _absolute(p: Reader) -> Node:
    bar = p.take().value
    p.bars += 1
    node = p.items()
    p.bars -= 1
    if p.take().value != bar:
        raise ParseError("a bar is not closed")
    return ("fun", "abs", node)


def _macro(p: Reader) -> Node:
    name = p.take().value
    if name in _CONSTANTS:
        return _CONSTANTS[name]
    if name in GREEK:
        if name == "Gamma" and p.name() == "(":
            return ("fun", "gamma", _group(p))
        return subscripted(p, "\\" + name)
    if name == "frac":
        above = braced(p)
        below = braced(p)
        return derivative(above, below) or ("div", above, below)
    if name == "binom":
        above = braced(p)
        return ("binom", above, braced(p))
    if name == "sqrt":
        return _root(p)
    if name in ("lfloor", "lceil"):
        node = p.items()
        p.expect("\\r" + name[1:])
        return ("fun", name[1:], node)
    if name == "langle":
        p.brackets += 1
        node = p.items()
        p.brackets -= 1
        p.expect("\\rangle")
        return ("seq", "()", *(node[1:] if node[0] == "list" else (node,)))
    if name in ("mathbb", "mathcal"):
        letter = raw_group(p)
        part = number_sets.part(p, letter) if name == "mathbb" else None
        return part or subscripted(p, f"{name}_{letter}")
    if name in _NAMED:
        return subscripted(p, f"{name} {raw_group(p)}")
    if name in ("sum", "prod"):
        return _series(p, name)
    if name == "begin":
        return _environment(p)
    raise ParseError(f"unknown macro \\{name}")


def _root(p: Reader) -> Node:
    index: Node = ("num", 2)
    if p.name() == "[":
        p.position += 1
        index = p.items()
        p.expect("]")
    return ("root", index, braced(p))


def _function(p: Reader) -> Node:
    r"""\sin^2 2x, \log_2 8, \min(a, b)."""
    name = p.take().value
    base = power = None
    # TeX takes _ and ^ in either order.
    for _ in range(2):
        if p.name() == "_":
            p.position += 1
            base = braced(p)
        elif p.name() == "^":
            p.position += 1
            power = p.script()
    if p.name() == "(":
        argument = _group(p)
    else:
        # As printed mathematics is read: \sin 2x \cos x is (\sin 2x)(\cos x), and \sin x(y) is
        # (\sin x)(y).
        argument = p.signed()
        while starts_factor(p) and p.peek().kind != "function" and p.name() != "(":
            argument = ("mul", argument, p.power())
    # By convention \sin^{-1} is the inverse function, though \sin^2 is a square.
    if power == ("num", -1) and name in ("sin", "cos", "tan", "cot", "sec", "csc"):
        return ("fun", "arc" + name, argument)
    if base is not None and name != "log":
        raise ParseError(f"a subscript of \\{name}")
    node: Node = ("log", base, argument) if base is not None else ("fun", name, argument)
    return node if power is None else ("pow", node, power)


def _series(p: Reader, name: str) -> Node:
    r"""\sum_{k=1}^{n} body or \sum_{k \ge 1} body, with one index."""
    p.expect("_")
    start = braced(p)
    if start[0] != "rel" or len(start[2]) != 1 or start[1][0][0] != "sym":
        raise ParseError(f"\\{name} without an index")
    (index, first), relation = start[1], start[2][0]
    if p.name() == "^":
        p.position += 1
        stop = p.script()
    elif relation in (">", ">="):
        stop = ("inf",)
        first = ("add", first, ("num", Fraction(1))) if relation == ">" else first
        relation = "="
    if relation != "=":
        raise ParseError(f"\\{name} over neither a first and a last index nor all from one on")
    # product(), not sum(): \sum k + 1 is (\sum k) + 1.
    return (name, index[1], first, stop, p.product())


def _environment(p: Reader) -> Node:
    name = raw_group(p)
    # The columns' alignment, {cc|c}, which only array has.
    if name == "array" and p.name() == "{":
        raw_group(p)
    if name not in _MATRICES | _ROWS:
        raise ParseError(f"environment {name}")
    p.brackets += 1
    rows: list[tuple[Node, ...]] = []
    row: list[Node] = []
    while p.name() != "\\end":
        if p.name() == "&":
            p.position += 1
        elif p.name() == "\\\\":
            p.position += 1
            rows.append(tuple(row))
            row = []
        elif p.name() == "\\hline" or p.peek().value.lower() in LEADS:
            p.position += 1
        else:
            row.append(p.items())
    p.position += 1
    raw_group(p)
    p.brackets -= 1
    rows.append(tuple(row))
    # Many write a \\ behind the last row as well.
    rows = [r for r in rows if r]
    function = by_cases(rows) if name in _ROWS else None
    if function is not None:
        return function
    if name in _ROWS:
        return ("list", *(item for r in rows for item in r))
    if not rows or len({len(r) for r in rows}) != 1:
        raise ParseError("a matrix of unequal rows")
    matrix: Node = ("matrix", *rows)
    return ("fun", "det", matrix) if name == "vmatrix" else matrix
