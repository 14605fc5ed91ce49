r"""What stands between operators: numbers, names, groups, fractions, roots, functions, matrices.

Each function reads from a Parser (parse.py) at its position and returns a tree, or raises
ParseError. They are functions, not methods, so that parse.py shows the grammar's outline alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from prime_core.verifiers.math.tokens import END, ParseError, Token
from prime_core.verifiers.math.units import SINGLE_LETTERS

if TYPE_CHECKING:
    from prime_core.verifiers.math.parse import Parser

Node = tuple[Any, ...]

GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar "
    "aleph vartheta varsigma varrho varpi".split()
)
_CONSTANTS = {"infty": ("inf",), "emptyset": ("set",), "ldots": ("sym", "..."), "i": ("sym", "i")}
_NAMED = frozenset(["angle", "triangle", "overline", "bar", "widetilde", "overrightarrow", "arc"])
_FACTOR_MACROS = GREEK | _NAMED | {
    "frac", "sqrt", "binom", "infty", "lfloor", "lceil", "mathbb", "mathcal", "begin", "sum",
    "prod", "Gamma", "langle", "text", "emptyset",
}  # fmt: skip
_MATRICES = frozenset(["pmatrix", "bmatrix", "matrix", "array", "smallmatrix", "Bmatrix"])
_ROWS = frozenset(["cases", "aligned", "gathered", "align", "align*"])


def starts_factor(p: Parser) -> bool:
    """Whether the next token begins a factor that multiplies without a sign."""
    token = p.peek()
    if token.kind in ("letter", "function"):
        return True
    if token.kind == "macro":
        return token.value in _FACTOR_MACROS
    if token.kind == "number":
        return p.peek(-1).kind not in ("number", "letter") and not token.spaced
    if token.kind == "text":
        return len(token.value) == 1 and not (token.value in SINGLE_LETTERS and _at_item_end(p))
    if token.value == "|":
        return not p.bars and not p.sets
    return token.value in ("(", "{")


def _at_item_end(p: Parser) -> bool:
    following = p.peek(1)
    return following is END or p.name(1) in ("^", "/", ",", ";", ")") or following.kind == "sep"


def postfix(p: Parser) -> Node:
    """Postfix := atom ('!' | '%' | degree | prime)*."""
    return after_postfix(p, atom(p))


def after_postfix(p: Parser, node: Node) -> Node:
    """The signs that follow a complete atom or power."""
    for _ in range(8):
        name = p.name()
        if name == "!":
            node = ("fact", node)
        elif name in ("\\%", "%"):
            node = ("pct", node)
        elif name == "'":
            node = ("sym", f"{node[1]}'") if node[0] == "sym" else ("call", "'", node)
        elif name == "^" and p.name(1) == "\\circ":
            p.position += 1
            node = ("deg", node)
        elif name == "^" and p.name(1) == "{" and p.name(2) == "\\circ" and p.name(3) == "}":
            p.position += 3
            node = ("deg", node)
        elif name == "^" and p.name(1) == "\\prime":
            p.position += 1
            node = ("call", "'", node)
        else:
            return node
        p.position += 1
    raise ParseError("too many postfix signs")


def atom(p: Parser) -> Node:
    """One number, name, group, fraction, root, function or matrix."""
    token = p.peek()
    if token.kind == "number":
        return _number(p)
    if token.kind == "letter":
        return _letter(p)
    if token.kind == "function":
        return _function(p)
    if token.kind == "macro":
        return _macro(p)
    if token.kind == "text":
        p.position += 1
        return subscripted(p, token.value) if len(token.value) == 1 else ("text", token.value)
    if p.name() in ("(", "[", "\\{", "{"):
        return _group(p)
    if p.name() in ("|", "\\|"):
        return _absolute(p)
    raise ParseError(f"unexpected {token.value!r}")


def _number(p: Parser) -> Node:
    from prime_core.verifiers.math.parse import number

    digits = p.take().value
    digits += _more_thousands(p, digits)
    if p.name() == "_":
        p.position += 1
        base = raw_group(p)
        return ("based", digits, base)
    if p.name() == "." and p.name(1) in ("\\overline", "\\dot", "\\bar"):
        p.position += 1
    if p.name() in ("\\overline", "\\dot", "\\bar") and p.name(-1) != ",":
        return _repeating(p, digits)
    if p.name() == ".":  # 5. at the end of a sentence
        p.position += 1
    value = number(digits)
    if digits.isdigit():
        fraction = _proper_fraction(p)
        if fraction is not None:
            return ("num", value + fraction)
    return ("num", value)


def _more_thousands(p: Parser, digits: str) -> str:
    """The ',234' of 1,234 where it is one number; the ' 234' of 1 234."""
    if not digits.isdigit() or len(digits) > 3 or digits[0] == "0":
        return ""
    more = ""
    while True:
        comma = p.thousands and not p.brackets and p.name() == "," and not p.peek().spaced
        group = p.peek(1) if comma else p.peek()
        if group.kind != "number" or group.spaced == comma:
            return more
        whole = group.value.partition(".")[0]
        if len(whole) != 3 or not group.value.replace(".", "").isdigit():
            return more
        p.position += 2 if comma else 1
        more += group.value
        if "." in group.value:
            return more


def _proper_fraction(p: Parser) -> Any:
    r"""The 1/2 of 3\frac{1}{2} or of 3 1/2; None when no proper fraction follows."""
    from prime_core.verifiers.math.parse import number

    start = p.position
    if p.name() == "\\frac":
        names = [p.peek(i) for i in range(1, 7)]
        if [names[i].value for i in (0, 2, 3, 5)] != ["{", "}", "{", "}"]:
            return None
        above, below, width = names[1], names[4], 7
    elif p.peek().kind == "number" and p.peek().spaced and p.name(1) == "/":
        above, below, width = p.peek(), p.peek(2), 3
    else:
        return None
    if not (above.value.isdigit() and below.value.isdigit()) or len(below.value) > 20:
        return None
    if not 0 < int(above.value[:20]) < int(below.value):
        return None
    p.position = start + width
    return number(above.value) / number(below.value)


def _repeating(p: Parser, digits: str) -> Node:
    """0.1 followed by an overlined 6: one sixth."""
    from prime_core.verifiers.math.parse import number

    p.position += 1
    period = raw_group(p)
    if not period.isdigit() or len(period) > 40:
        raise ParseError("an overline over no digits")
    decimals = len(digits.partition(".")[2])
    tail = number(period) / (10 ** len(period) - 1) / 10**decimals
    return ("num", number(digits) + tail)


def _letter(p: Parser) -> Node:
    token = p.take()
    name = token.value
    if name in ("f", "g"):
        inverse = [p.name(0), p.name(1), p.name(2), p.peek(3).value, p.name(4), p.name(5)]
        if inverse == ["^", "{", "-", "1", "}", "("]:
            p.position += 5
            name += "^-1"
        if p.name() == "(" and not p.peek().spaced:
            return ("call", name, _group(p))
    following = p.peek()
    if following.kind == "number" and not following.spaced and following.value.isdigit():
        p.position += 1
        return ("sym", f"{name}_{following.value}")
    return subscripted(p, name)


def subscripted(p: Parser, name: str) -> Node:
    """A name with its subscript, which is part of the name."""
    if p.name() == "_":
        p.position += 1
        return ("sym", f"{name}_{raw_group(p)}")
    return ("sym", name)


def raw_group(p: Parser) -> str:
    """The tokens of a braced group, or the next token, as text."""
    if p.name() != "{":
        token = p.take()
        if token is END:
            raise ParseError("a script without content")
        return token.value
    depth, words = 0, []
    while True:
        token: Token = p.take()
        if token is END:
            raise ParseError("a brace is not closed")
        if token.value == "{":
            depth += 1
        elif token.value == "}":
            depth -= 1
            if depth == 0:
                return "".join(words[1:])
        words.append(token.value)


def braced(p: Parser) -> Node:
    """The argument of a macro: a group in braces or one token."""
    if p.name() == "{":
        p.position += 1
        node = p.items()
        p.expect("}")
        return node
    return atom(p)


def _group(p: Parser) -> Node:
    opening = p.take().value
    saved = p.brackets, p.bars, p.sets
    p.bars, p.sets = 0, int(opening == "\\{")
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
    return _closed(opening, closing, node)


def _closed(opening: str, closing: str, node: Node) -> Node:
    items = node[1:] if node[0] == "list" else (node,)
    if opening == "{" and closing == "}":
        return ("set", *items) if len(items) > 1 else node
    if opening == "\\{" and closing == "\\}":
        return node if node[0] == "builder" else ("set", *items)
    if opening not in ("(", "[") or closing not in (")", "]"):
        raise ParseError(f"{opening} is closed by {closing}")
    if len(items) == 1 and node[0] != "rel":
        return node
    return ("seq", opening + closing, *items)


def _absolute(p: Parser) -> Node:
    bar = p.take().value
    p.bars += 1
    node = p.items()
    p.bars -= 1
    if p.take().value != bar:
        raise ParseError("a bar is not closed")
    return ("fun", "abs", node)


def _macro(p: Parser) -> Node:
    name = p.take().value
    if name in _CONSTANTS:
        return _CONSTANTS[name]
    if name in GREEK:
        if name == "Gamma" and p.name() == "(":
            return ("fun", "gamma", _group(p))
        return subscripted(p, "\\" + name)
    if name == "frac":
        above = braced(p)
        return ("div", above, braced(p))
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
        return ("sym", f"{name}_{raw_group(p)}")
    if name in _NAMED:
        return ("sym", f"{name} {raw_group(p)}")
    if name in ("sum", "prod"):
        return _series(p, name)
    if name == "begin":
        return _environment(p)
    raise ParseError(f"unknown macro \\{name}")


def _root(p: Parser) -> Node:
    index: Node = ("num", 2)
    if p.name() == "[":
        p.position += 1
        index = p.items()
        p.expect("]")
    return ("root", index, braced(p))


def _function(p: Parser) -> Node:
    r"""\sin^2 2x, \log_2 8, \min(a, b)."""
    name = p.take().value
    base = power = None
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
        argument = p.signed()
        while starts_factor(p) and p.peek().kind != "function" and p.name() != "(":
            argument = ("mul", argument, p.power())
    if power == ("num", -1) and name in ("sin", "cos", "tan", "cot", "sec", "csc"):
        return ("fun", "arc" + name, argument)
    if base is not None and name != "log":
        raise ParseError(f"a subscript of \\{name}")
    node: Node = ("log", base, argument) if base is not None else ("fun", name, argument)
    return node if power is None else ("pow", node, power)


def _series(p: Parser, name: str) -> Node:
    r"""\sum_{k=1}^{n} body, with one index."""
    p.expect("_")
    start = braced(p)
    p.expect("^")
    stop = p.script()
    if start[0] != "rel" or start[2] != ("=",) or start[1][0][0] != "sym":
        raise ParseError(f"\\{name} without an index")
    return (name, start[1][0][1], start[1][1], stop, p.product())


def _environment(p: Parser) -> Node:
    name = raw_group(p)
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
        elif p.name() == "\\hline":
            p.position += 1
        else:
            row.append(p.items())
    p.position += 1
    raw_group(p)
    p.brackets -= 1
    rows.append(tuple(row))
    rows = [r for r in rows if r]
    if name in _ROWS:
        return ("list", *(item for r in rows for item in r))
    if not rows or len({len(r) for r in rows}) != 1:
        raise ParseError("a matrix of unequal rows")
    return ("matrix", *rows)


def looks_like_name(node: Node) -> bool:
    """Whether a tree is a name or a function's head, such as x, a_1, AB or p(x)."""
    return bool(re.match(r"sym|text|call", node[0]))
