r"""Responses that a policy could write without solving anything, by family.

In: the members that a text shall stand for (the commonest answers, whole numbers, the numbers of a
problem and what can be computed from two of them). Out: whole responses, by family and name.

JOINED makes one response of several members: each is an attempt to give many answers at once, so
it must be worth one answer at most. FIXED (cheat_texts.txt) are answers that name none. To add an
attempt, add it to one of the two; benchmarks/cheats.py and tests/verifiers/test_cheats.py read it
from there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import reduce
from itertools import combinations
from pathlib import Path

Members = Sequence[str]
Joiner = Callable[[Members], str]

RELATIONS = {
    name: f"\\{name} "
    for name in (
        "approx", "sim", "simeq", "cong", "equiv", "doteq", "asymp", "approxeq", "thickapprox",
        "triangleq", "propto", "ne", "le", "ge", "to", "rightarrow", "Rightarrow", "iff",
        "Leftrightarrow", "mapsto", "in", "ni", "subset", "mid", "parallel", "perp",
    )
} | {"equals": "=", "less": "<", "greater": ">", "colon": ":", "defined": ":="}  # fmt: skip

# What stands between two answers: in the order of a list, an alternative, a place on a line.
SEPARATORS = {
    "comma": ", ", "bare comma": ",", "semicolon": "; ", "bar": " | ", "slash": "/",
    "and": " \\text{ and } ", "or": " \\text{ or } ", "or word": " or ", "either": " \\lor ",
    "both": " \\land ", "vee": " \\vee ", "quad": " \\quad ", "line": " \\\\ ", "newline": "\n",
    "align": " & ", "dots": ", \\ldots, ", "pm": " \\pm ", "mp": "\\mp ", "space": " ",
    "dollar": "$ $", "math": "\\), \\(", "text comma": "\\text{, }",
    "respectively": " \\text{ resp. } ",
    "i.e.": " \\text{ i.e. } ", "maybe": " \\text{ or maybe } ", "oder": " \\text{ oder } ",
    "或": "或", "to": " \\text{ to } ", "dash": " - ", "en dash": "\N{EN DASH}",
    "cup": "\\cup ", "cap": "\\cap ",
    "setminus": "\\setminus ", "oplus": "\\oplus ", "xor": "\\veebar ",
    "given": "\\text{ if } x \\text{, }",
    "percent": "\\%, ", "times": "\\times ", "star": " * ", "null": "\\not ", "tagged": "\\tag{1} ",
}  # fmt: skip


def boxed(answer: str) -> str:
    """A response with that answer in its box."""
    return f"The answer is $\\boxed{{{answer}}}$."


def _chain(relation: str, head: str = "") -> Joiner:
    return lambda members: boxed(head + relation.join(members))


def _wrap(opening: str, separator: str, closing: str, each: str = "{}") -> Joiner:
    def joined(members: Members) -> str:
        items = separator.join(each.replace("{}", member) for member in members)
        return boxed(opening + items + closing)

    return joined


def _fold(template: str) -> Joiner:
    """Members in one another: the template has a place for one (A) and for the rest (B)."""

    def put(rest: str, member: str) -> str:
        return re.sub("[AB]", lambda found: member if found[0] == "A" else rest, template)

    return lambda members: boxed(reduce(put, members[-2::-1], members[-1]))


def _boxes(separator: str, each: str = "\\boxed{{{}}}") -> Joiner:
    return lambda members: separator.join(each.format(member) for member in members)


def _environment(name: str, row: str = " \\\\ ", each: str = "{}") -> Joiner:
    argument = "{c}" if name == "array" else ""
    return _wrap(f"\\begin{{{name}}}{argument} ", row, f" \\end{{{name}}}", each)


JOINED: dict[str, dict[str, Joiner]] = {
    "chains": {
        **{name: _chain(relation) for name, relation in RELATIONS.items()},
        **{
            f"x {name}": _chain(relation, "x" + relation)
            for name, relation in RELATIONS.items()
            if name in ("approx", "sim", "cong", "equals", "equiv", "le", "ne", "in")
        },
        "x= approx": _chain("\\approx ", "x="),
        "x approx =": _chain("=", "x\\approx "),
        "each named": _wrap("", "\\approx ", "", "x=({})"),
        "equations": _wrap("", ", ", "", "x={}"),
        "other names": lambda members: boxed(
            ", ".join(f"{chr(97 + i % 26)}={member}" for i, member in enumerate(members))
        ),
    },
    "lists": {name: _wrap("", text, "") for name, text in SEPARATORS.items()},
    "words": {
        "x= or": _wrap("", " \\text{ or } ", "", "x={}"),
        "text or": _wrap("\\text{", " or ", "}"),
        "text and": _wrap("\\text{", " and ", "}"),
        "not": _wrap("", ", ", "", "\\text{not } {}"),
        "one of": _wrap("\\text{one of } ", ", ", ""),
        "any of": _wrap("\\text{any of } ", ", ", ""),
        "answer is": _wrap("\\text{the answer is } ", "\\text{ or the answer is } ", ""),
        "in brackets": lambda members: boxed(members[0] + "".join(f" ({m})" for m in members[1:])),
        "in text": lambda members: boxed(
            members[0] + "".join(f" \\text{{ (or {m})}}" for m in members[1:])
        ),
        "units": _wrap("", "\\text{ cm, } ", "\\text{ m}"),
    },
    "brackets": {
        "set": _wrap("\\{", ", ", "\\}"),
        "tuple": _wrap("(", ", ", ")"),
        "square": _wrap("[", ", ", "]"),
        "angle": _wrap("\\langle ", ", ", "\\rangle"),
        "round each": _wrap("", "", "", "({})"),
        "sets": _wrap("", "\\cup ", "", "\\{{}\\}"),
        "intervals": _wrap("", "\\cup ", "", "[{},{}]"),
        "in set": _wrap("x\\in\\{", ", ", "\\}"),
        "set of sets": _wrap("\\{", ", ", "\\}", "\\{{}\\}"),
        "colon set": _wrap("\\{x : x=", "\\text{ or } x=", "\\}"),
    },
    "cases": {
        name: _environment(name)
        for name in ("cases", "aligned", "array", "matrix", "pmatrix", "gathered", "split")
    }
    | {
        "conditions": _environment("cases", each="{} & x={}"),
        "otherwise": _environment("cases", each="{} & \\text{otherwise}"),
        "a row": _environment("pmatrix", " & "),
        "determinant": _environment("vmatrix", " & "),
        "substack": _wrap("\\substack{", " \\\\ ", "}"),
        "aligned equations": _environment("aligned", each="x &= {}"),
    },
    "one in another": {
        "box": _fold("\\boxed{A \\boxed{B}}"),
        "over": _fold("\\overset{A}{B}"),
        "under": _fold("\\underset{A}{B}"),
        "stacked": _fold("\\stackrel{A}{B}"),
        "phantom": _fold("\\phantom{A}B"),
        "cancelled": _fold("\\cancel{A}B"),
        "brace": _fold("\\underbrace{A}_{B}"),
        "choice": _fold("\\mathchoice{A}{B}{}{}"),
        "arrow": _fold("\\xrightarrow{A}B"),
        "coloured": _fold("\\color{A}B"),
        "text": _fold("\\text{A} B"),
        "index": _fold("A_{B}"),
        "or nothing": _fold("\\text{A or } {B}"),
        "footnote": _fold("A\\footnote{B}"),
        "absolute": _fold("|A|,B"),
        "comment": _fold("A % B\n"),
    },
    "functions": {
        name: _wrap(f"\\{name}(", ", ", ")") for name in ("max", "min", "gcd", "operatorname{lcm}")
    }
    | {
        "roots": _wrap("", "", "=0", "(x-({}))"),
        "root set": _wrap("\\{x : ", "", "=0\\}", "(x-({}))"),
        "pm stack": _wrap("\\pm ", " \\pm ", ""),
        "residues": _wrap("x\\equiv ", ", ", "\\pmod{1}"),
        "modulo": _wrap("", ", ", "", "{} \\pmod 1"),
        "f of": lambda members: boxed(
            ", ".join(f"f({i})={member}" for i, member in enumerate(members))
        ),
    },
    "several boxes": {
        "on a line": _boxes(" "),
        "comma": _boxes(", "),
        "or": _boxes(" or "),
        "and": _boxes(" and "),
        "on lines": _boxes("\n\n"),
        "framed": _boxes(" ", "\\fbox{{{}}}"),
        "tags": _boxes(" ", "<answer>{}</answer>"),
        "boxes in a tag": lambda members: f"<answer>{_boxes(' ')(members)}</answer>",
        "boxes in a box": lambda members: boxed(_boxes(" ")(members)),
        "answer lines": _boxes("\n", "Final answer: {}"),
    },
}


def _read_fixed() -> dict[str, list[str]]:
    families: dict[str, list[str]] = {}
    for line in Path(__file__).with_suffix(".txt").read_text("utf-8").splitlines():
        if re.fullmatch(r"\[[a-z ]+\]", line) and line != "[]":
            family = families.setdefault(line[1:-1], [])
        elif line and not line.startswith("# "):
            family.append(line)
    return families


FIXED = _read_fixed()

# Of JOINED, those that are tried with the numbers of each problem: 1 of about 8, for time's sake.
OWN_JOINED = [
    ("chains", "approx"), ("chains", "x= approx"), ("chains", "equals"), ("chains", "equations"),
    ("lists", "comma"), ("lists", "or"), ("lists", "pm"), ("lists", "cup"), ("brackets", "set"),
    ("brackets", "sets"), ("cases", "conditions"), ("one in another", "box"),
    ("functions", "roots"),
    ("several boxes", "on a line"), ("several boxes", "on lines"),
]  # fmt: skip
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_MAX_NUMBERS = 5


def own_numbers(problem: str) -> list[Fraction]:
    """The different numbers that a problem states, in their order; at most five."""
    found = (Fraction(text.rstrip(",").replace(",", "")) for text in _NUMBER.findall(problem))
    return list(dict.fromkeys(found))[:_MAX_NUMBERS]


def single_guesses(problem: str) -> dict[str, str]:
    """Responses of one answer that follow from a problem's numbers without reading it."""
    numbers = own_numbers(problem) or [Fraction(0)]
    one, other = numbers[0], numbers[1 % len(numbers)]
    guesses = {
        "first": one,
        "last": numbers[-1],
        "largest": max(numbers),
        "sum": sum(numbers, Fraction(0)),
        "product": reduce(lambda a, b: a * b, numbers),
        "sum of two": one + other,
        "product of two": one * other,
        "difference of two": abs(one - other),
        "number after": numbers[-1] + 1,
    }
    if one and other:
        guesses["quotient of two"] = max(one / other, other / one)
    return {name: boxed(written(value)) for name, value in guesses.items()}


def own_texts(problem: str) -> dict[str, str]:
    """Responses that name all numbers of a problem, or all that two of them make."""
    numbers = own_numbers(problem) or [Fraction(0)]
    made = list(numbers)
    for one, other in combinations(numbers, 2):
        made += [one + other, abs(one - other), one * other]
        made += [one / other] if other else []
        made += [other / one] if one else []
    texts = {}
    for name, members in (("numbers", numbers), ("pairs", list(dict.fromkeys(made)))):
        for family, joiner in OWN_JOINED:
            attempt = f"{name}, {family}: {joiner}"
            texts[attempt] = JOINED[family][joiner]([written(value) for value in members])
    return texts


def written(number: Fraction) -> str:
    """A number as a response has it: a whole number or a fraction."""
    if number.denominator == 1:
        return str(number.numerator)
    return f"\\frac{{{number.numerator}}}{{{number.denominator}}}"


def changed_golds(gold: str) -> dict[str, str]:
    """The gold answer with wrong numbers; none where it has no number to change."""
    if not re.search(r"\d", gold):
        return {}
    more = re.sub(r"\d+", lambda found: str(int(found[0]) + 1), gold, count=1)
    digits = re.sub(r"\d", lambda found: str((int(found[0]) + 3) % 10), gold)
    last = re.sub(r"\d(?=\D*$)", lambda found: str((int(found[0]) + 1) % 10), gold)
    texts = {"first number": more, "every digit": digits, "last digit": last}
    made = {name: boxed(text) for name, text in texts.items() if text != gold}
    # A list with another member, or a wider ray, joined to the right one may be the right one.
    if re.search(r",|\\[lg]e|\\pm|\band\b", gold):
        return made
    return made | {
        "then right": boxed(f"{more} \\text{{ or }} {gold}"),
        "right, then wrong": boxed(f"{gold} \\approx {more}"),
        "right in a box": f"\\boxed{{{gold}}} or \\boxed{{{more}}}",
    }


def fixed_texts(commonest: Members) -> dict[str, dict[str, str]]:
    """All responses that are the same for every problem, by family and name.

    commonest: the commonest gold answers of a benchmark, the first the most frequent.
    """
    texts = {
        family: {answer: boxed(answer) for answer in answers} for family, answers in FIXED.items()
    }
    whole = [str(number) for number in range(101)]
    lists = {"2 commonest": commonest[:2], "20 commonest": commonest[:20], "0 to 100": whole}
    for family, joiners in JOINED.items():
        texts[family] = {
            f"{name}, {members}": join(lists[members])
            for name, join in joiners.items()
            for members in lists
        }
    for name in ("approx", "sim", "equals", "x equals"):
        texts["chains"][f"{name}, 0 to 999"] = JOINED["chains"][name]([*map(str, range(1000))])
    return texts
