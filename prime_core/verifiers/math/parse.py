r"""Read normalised LaTeX into a small tree. Nothing is evaluated here.

In: the output of normalise(). Out: nested tuples, ("name", children...), for example
("add", ("num", 1), ("root", ("num", 2), ("sym", "x"))). Anything that is not understood raises
ParseError; depth and size are bounded, so that no input is slow or exhausts the stack.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from prime_core.verifiers.math import atoms, compound, languages, products, residues
from prime_core.verifiers.math.connectives import AND_WORDS, OR_WORDS, joined
from prime_core.verifiers.math.normalise import normalise
from prime_core.verifiers.math.number_words import leave_unread
from prime_core.verifiers.math.numerals import number, raw_group
from prime_core.verifiers.math.postfix import after_postfix
from prime_core.verifiers.math.tokens import END, ParseError, Token, TooLong, tokenise
from prime_core.verifiers.math.tree import Node
from prime_core.verifiers.math.units import UNITS

MAX_DEPTH = 40  # about 13 Python frames a level, of 1000
_MAX_TREE_DEPTH = 150  # a walk over a tree takes two Python frames a level, of 1000
RELATIONS = {
    "=": "=", "==": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "!=": "!=", "\\le": "<=",
    "\\ge": ">=", "\\ne": "!=", "\\in": "in", "\\approx": "~", "\\equiv": "===", "\\to": "->",
    "\\Rightarrow": "=>", "\\implies": "=>", "\\rightarrow": "->", "\\sim": "sim", "=>": "=>",
    "->": "->", "\\cong": "cong", "\\subset": "sub", "\\subseteq": "subeq", "\\mapsto": "->",
    "\\parallel": "parallel", "\\perp": "perp", "\\propto": "propto", "\\notin": "notin",
    "\\supset": "sup", "\\supseteq": "supeq", "\\iff": "<=>", "\\Leftrightarrow": "<=>",
    "\\leftrightarrow": "<->", "\\ll": "<<", "\\gg": ">>", "\\prec": "prec", "\\succ": "succ",
    "\\asymp": "asymp", "\\longrightarrow": "->", "\\Longrightarrow": "=>",
    "\\therefore": "=>",
}  # fmt: skip
_UNIT_WORDS = frozenset(UNITS)
_UNIT_POWER = re.compile(r"(?:\D*[A-Za-z](?:[23]|\s?\^\s?\{?\s?-?\d\s?\}?))+\D*")
_SET_OPERATORS = {"\\cup": "union", "\\cap": "inter", "\\setminus": "minus"}
_ORDERED = {"\\cross": products.cross, "\\cartesian": products.cartesian}
_COMPARISONS = frozenset(["<", ">", "<=", ">=", "!=", "\\le", "\\ge", "\\ne"])
_CLOSES = frozenset([")", "]", "}", "\\}", "\\rangle", "\\rfloor", "\\rceil", "&", "\\\\", "\\end"])


@lru_cache(maxsize=4096)  # a gold is compared with every response to its prompt
def parse(text: str, thousands: bool = True) -> Node | None:
    """Tree of an answer as written, or None when this parser does not read it.

    thousands: whether 1,234 outside brackets is one number rather than two.
    """
    try:
        node = Parser(tokenise(normalise(text)), thousands).answer()
        _check_depth(node)
        return node
    except (TooLong, RecursionError) as error:
        return ("toolong", str(error))  # not None, which would be handed to math-verify
    except ParseError:
        return None


def _check_depth(node: Node) -> None:
    """Refuse chains such as a/b/c/..., which the grammar reads without recursion."""
    level: list[Any] = [node]
    for _ in range(_MAX_TREE_DEPTH):
        level = [child for parent in level for child in parent if isinstance(child, tuple)]
        if not level:
            return
    raise TooLong(f"a tree of more than {_MAX_TREE_DEPTH} levels")


class Parser:
    """Recursive descent over tokens; `atoms` holds what stands between operators."""

    def __init__(self, tokens: list[Token], thousands: bool) -> None:
        self.tokens = tokens
        self.thousands = thousands
        self.position = 0
        self.depth = 0
        self.brackets = 0  # a comma inside brackets separates
        self.bars = 0  # open |
        self.sets = 0  # open \{, where | means "such that"

    def peek(self, ahead: int = 0) -> Token:
        """A token further on, the end token past the last."""
        index = self.position + ahead
        return self.tokens[index] if index < len(self.tokens) else END

    def name(self, ahead: int = 0) -> str:
        r"""A token as it is written in rules: '+', '\frac', or '' for numbers, letters, text."""
        token = self.peek(ahead)
        if token.kind == "macro":
            return "\\" + token.value
        return token.value if token.kind == "sign" else ""

    def take(self) -> Token:
        """The next token, consumed."""
        token = self.peek()
        self.position += 1
        return token

    def expect(self, name: str) -> None:
        """Consume this token or refuse."""
        if self.name() != name:
            raise ParseError(f"expected {name!r}, found {self.peek().value!r}")
        self.position += 1

    def answer(self) -> Node:
        """answer := items, up to the end of the text."""
        node = self.items()
        if self.peek() is not END:
            raise ParseError(f"unexpected {self.peek().value!r}")
        return node

    def items(self) -> Node:
        """items := item (separator item)*; one item stands for itself."""
        found: list[Node] = []
        words: list[str] = []
        # 5 (or 6) names two values; without the word it would be a product.
        if self._separators() not in ("", ",") and self.brackets:
            raise ParseError("a bracket that begins with a word between items")
        while self.peek() is not END and self.name() not in _CLOSES:
            # It closes |...|, or begins the condition of a set; before any item it opens another.
            if found and self.name() == "|" and (self.bars or self.sets):
                break
            found.append(self.item())
            found = residues.closed(self, found, atoms.braced)
            # Items that have become classes of one residue are no longer parted.
            del words[len(found) - 1 :]
            word = self._separators()
            if not word:
                break
            words.append(word)
        if not found:
            raise ParseError("nothing there")
        return joined(found, words[: len(found) - 1])

    def _separators(self) -> str:
        """Consume what separates items: the word among it, else a comma, else ''."""
        found = ""
        while self.peek().kind == "sep" or self.name() in (",", ";", "\\wedge", "\\vee"):
            word = self.name() or self.peek().value
            if found in ("", ","):
                found = word if word in OR_WORDS | AND_WORDS else ","
            self.position += 1
        return found

    def item(self) -> Node:
        """item := quantity (relation quantity)*."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooLong(f"nested more than {MAX_DEPTH} deep")
        # A box cut out of a derivation begins with its sign: '= 5'.
        while self.name() in ("\\approx", "=", "\\therefore", "\\implies", "\\Rightarrow"):
            self.position += 1
        bare = self.name() in _COMPARISONS  # \ge 5 says it of some x
        members, relations = [("sym", "x") if bare else self.quantity()], []
        while True:
            relation = RELATIONS.get(self.name())
            if relation is None:
                break
            self.position += 1
            relations.append(relation)
            members.append(self.quantity())
        self.depth -= 1
        return ("rel", tuple(members), tuple(relations)) if relations else members[0]

    def quantity(self) -> Node:
        r"""quantity := currency? ratio unit?, for example \$5, 5 cm^2, 3 km/h."""
        unit = self._currency()
        node = self.ratio()
        words = self._unit()
        if words and leave_unread(words, _UNIT_WORDS):
            raise ParseError("words that change the number before them")
        unit = f"{unit} {words}".strip()
        if not unit:
            return node
        if self.peek().kind == "number":  # 3 hours 30 minutes
            return self._compound(("qty", node, unit))
        return ("qty", node, unit)

    def _compound(self, first: Node) -> Node:
        """Quantities side by side, which have to add up to one."""
        parts = [first]
        while self.peek().kind == "number":
            number_read = atoms.postfix(self)
            parts.append(("qty", number_read, self._unit()))
        node = compound.joined(parts)
        if node is None:
            raise ParseError("quantities that do not add up")
        return node

    def _currency(self) -> str:
        token = self.peek()
        is_sign = self.name() in ("\\$", "$", "\\pounds", "\\euro")
        if is_sign or token.value in ("£", "€", "¥", "₹", "USD", "US"):
            self.position += 1
            return {"\\$": "$", "\\pounds": "£", "\\euro": "€"}.get(self.name(-1), token.value) + (
                self._currency() if token.value == "US" else ""
            )
        if self.name() == "-" and self.name(1) in ("\\$", "$"):  # -\$5
            sign = self.tokens[self.position]
            # Swapped, so that the sign stands before the number. The list is this parse's own.
            self.tokens[self.position : self.position + 2] = [self.peek(1), sign]
            return self._currency()
        return ""

    def _unit(self) -> str:
        r"""Words after a number, with their powers and slashes."""
        words: list[str] = []
        while True:
            token = self.peek()
            if token.kind == "text":
                # Unknown words behind a number are ignored; a number among them would be a second
                # guess.
                if re.search(r"\d", token.value) and not _UNIT_POWER.fullmatch(token.value):
                    raise ParseError("numbers among the words behind a number")
                if languages.changes_number(token.value):
                    raise ParseError("words that change the number before them")
                words.append(token.value)
            elif words and self.name() == "/" and self.peek(1).kind in ("text", "letter"):
                words.append("/")
            elif words and self.name() == "\\cdot" and self.peek(1).value.lower() in UNITS:
                pass  # N \cdot m
            elif words and token.kind == "letter" and words[-1] == "/":
                words.append(token.value)
            elif words and self.name() == "^":
                self.position += 1
                words.append("^" + "".join(re.findall(r"-?\d+", raw_group(self))))
                continue
            elif self.name() in ("\\$", "€", "£", "¢"):
                words.append(token.value.strip("\\"))
            elif self.name() == "." and words:
                pass
            else:
                return " ".join(words)
            self.position += 1

    def ratio(self) -> Node:
        """ratio := sets (':' sets)*."""
        parts = [self.set_expression()]
        # In \{x : x > 3\} it begins the condition.
        while self.name() == ":" and not self.sets:
            self.position += 1
            parts.append(self.set_expression())
        return parts[0] if len(parts) == 1 else ("ratio", *parts)

    def set_expression(self) -> Node:
        """Sets := sum ((union | intersection | difference) sum)*, from the left."""
        node = self.sum()
        while self.name() in _SET_OPERATORS:
            operator = _SET_OPERATORS[self.name()]
            self.position += 1
            node = (operator, node, self.sum())
        return node

    def sum(self) -> Node:
        """Sum := product (('+' | '-' | plus-minus) product)*."""
        terms = [self.product()]
        while self.name() in ("+", "-", "\\pm", "\\mp"):
            sign = self.name()
            self.position += 1
            term = self.product()
            terms.append(_signed(sign, term))
        return terms[0] if len(terms) == 1 else ("add", *terms)

    def product(self) -> Node:
        """Product := signed ((times | over | mod | nothing) signed)*, from the left."""
        node = self.signed()
        while True:
            name = self.name()
            if name in ("\\cdot", "\\times", "*"):
                self.position += 1
                node = ("mul", node, self.signed())
            elif name in _ORDERED:
                self.position += 1
                other = self.signed()
                if other[0] == "num" and atoms.starts_factor(self):  # 2\vec{b}
                    other = ("mul", other, self.power())
                node = _ORDERED[name](node, other)
            elif name == "/":
                self.position += 1
                # From the left, as programming languages do: 1/2x is half of x.
                node = ("div", node, self.signed())
            elif name == "\\bmod":
                self.position += 1
                node = ("mod", node, self.signed())
            elif atoms.starts_factor(self):
                node = ("mul", node, self.power())
            else:
                return node

    def signed(self) -> Node:
        """Signed := sign* power."""
        signs = []
        while self.name() in ("+", "-", "\\pm", "\\mp"):
            signs.append(self.name())
            self.position += 1
            # Each of them nests the tree once more.
            if len(signs) > MAX_DEPTH:
                raise TooLong("too many signs")
        node = self.power()
        for sign in reversed(signs):
            node = _signed(sign, node)
        return node

    def power(self) -> Node:
        """Power := postfix ('^' script)*, from the right."""
        node = atoms.postfix(self)
        if self.name() not in ("^", "**"):
            return node
        self.position += 1
        # A tower of powers recurses past item(), which counts the other nesting.
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooLong(f"nested more than {MAX_DEPTH} deep")
        exponent = self._upper_index(node) or self.script()
        self.depth -= 1
        if self.name() == "_" and node[0] == "sym":  # x^2_1
            node = atoms.subscripted(self, node[1])
        return after_postfix(self, ("pow", node, exponent))

    def _upper_index(self, node: Node) -> Node | None:
        """The 3 of C^3_{10}, which is no numeral to the base ten."""
        if node[0] != "sym" or self.peek().kind != "number" or self.name(1) != "_":
            return None
        return ("num", number(self.take().value))

    def script(self) -> Node:
        """What a ^ governs: a group, a signed number, or one power."""
        if self.name() in ("-", "+"):
            sign = self.take().value
            return _signed(sign, self.power())
        return self.power()


def _signed(sign: str, node: Node) -> Node:
    if sign == "+":
        return node
    if sign == "-":
        if node[0] == "num":
            # A number, not a negation: rules that ask for a number find -5 as well.
            return ("num", -node[1])
        return ("neg", node)
    return ("pm" if sign == "\\pm" else "mp", node)
