r"""Cases for fuzzing the mathematical verifier, and what must hold of each.

A case is a dict of texts. `answer` and `gold` are judged; `expected` is True or False where it is
known by construction: a gold equals itself however it is spaced, a random expression equals what
the rules of algebra make of it, and differs from one whose value differs at some point.
"""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import fuzz_answers
from prime_core.verifiers.math import judge
from tests.support import fuzz_math

Tree = tuple[Any, ...]
Case = dict[str, Any]

KINDS = (
    "garbage", "garbage", "bytes", "gold", "changed", "wrong", "same", "real", "parts", "parts",
)  # fmt: skip
OWN_SECONDS = 1.0  # of the processor, in our own reader
FALLBACK_SECONDS = 1.0  # math-verify's limit; most texts here are no mathematics

# Beyond every step of floor, and where kinks lie between; also near zero, where roots differ.
POINTS = (-57.3, -11.7, -6.2, -2.4, -0.7, 0.3, 1.6, 4.9, 8.8, 23.1, 71.9)
FUNCTIONS: dict[str, tuple[Callable[[float], float], str]] = {
    "abs": (abs, "|{}|"),
    "sqrt": (math.sqrt, "\\sqrt{{{}}}"),
    "sin": (math.sin, "\\sin({})"),
    "floor": (math.floor, "\\lfloor {}\\rfloor"),
    "square": (lambda value: value * value, "({})^2"),
}
OPERATORS = {"+", "-", "*", "/", "max", "min"}


def expression(rng: random.Random, depth: int) -> Tree:
    """A random expression in x: a tree of operators, functions, whole numbers."""
    if depth == 0 or rng.random() < 0.15:
        return ("x",) if rng.random() < 0.5 else ("number", rng.randint(1, 20))
    if rng.random() < 0.3:
        return (rng.choice([*FUNCTIONS]), expression(rng, depth - 1))
    name = rng.choice(["+", "-", "*", "/", "+", "-", "*", "max", "min"])
    return (name, expression(rng, depth - 1), expression(rng, depth - 1))


def latex(tree: Tree) -> str:
    """The expression as a response would have it."""
    name, *parts = tree
    if name == "x":
        return "x"
    if name == "number":
        return str(parts[0]) if parts[0] >= 0 else f"({parts[0]})"
    texts = [latex(part) for part in parts]
    if name in FUNCTIONS:
        return FUNCTIONS[name][1].format(texts[0])
    if name in ("max", "min"):
        return f"\\{name}({texts[0]},{texts[1]})"
    if name == "/":
        return f"\\frac{{{texts[0]}}}{{{texts[1]}}}"
    if name == "*":
        return f"({texts[0]})({texts[1]})"
    other = texts[1] if parts[1][0] in ("x", "number", "*", "/", *FUNCTIONS) else f"({texts[1]})"
    return f"{texts[0]}{name}{other}"


def value(tree: Tree, x: float) -> float:
    """Its value; ValueError, ZeroDivisionError or OverflowError where it has none."""
    name, *parts = tree
    if name == "x":
        return x
    if name == "number":
        return parts[0]
    values = [value(part, x) for part in parts]
    if name in FUNCTIONS:
        return FUNCTIONS[name][0](values[0])
    one, other = values
    if name in ("max", "min"):
        return max(one, other) if name == "max" else min(one, other)
    if name == "/":
        return one / other
    return one + other if name == "+" else one - other if name == "-" else one * other


def values(tree: Tree) -> list[float | None]:
    """Values at all points, None where there is none."""
    found: list[float | None] = []
    for x in POINTS:
        try:
            found.append(value(tree, x))
        except (ValueError, ArithmeticError):
            found.append(None)
    return found


def differ(one: Tree, other: Tree) -> bool:
    """Whether two expressions have clearly different values at three points or more."""
    pairs = zip(values(one), values(other), strict=True)
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return sum(abs(a - b) > 1e-3 * (1 + abs(a) + abs(b)) for a, b in known) >= 3


def wrong(rng: random.Random, tree: Tree) -> Tree:
    """The expression with one number, sign or operator changed."""
    name, *parts = tree
    if name == "number":
        return ("number", parts[0] + rng.choice([-1, 1, 2, 10]))
    if name == "x":
        return rng.choice([("-", ("x",), ("number", 1)), ("number", 3), ("-", ("number", 0), tree)])
    if rng.random() < 0.35 and name in OPERATORS:
        return (rng.choice(sorted(OPERATORS - {name})), *parts)
    if rng.random() < 0.2 and name in ("abs", "sqrt", "floor", "max", "min"):
        return parts[0]
    place = rng.randrange(len(parts))
    parts[place] = wrong(rng, parts[place])
    return (name, *parts)


def same(rng: random.Random, tree: Tree) -> Tree:
    """The expression after a few steps that the rules of algebra allow."""
    name, *parts = tree
    if name in ("x", "number"):
        extra = ("number", rng.randint(1, 9))
        choices = [tree, tree, ("-", ("+", tree, extra), extra), ("*", ("number", 1), tree)]
        return rng.choice(choices)
    parts = [same(rng, part) for part in parts]
    if name in ("+", "*", "max", "min") and rng.random() < 0.7:
        return (name, parts[1], parts[0])
    if name == "-" and rng.random() < 0.5:
        return ("*", ("number", -1), ("-", parts[1], parts[0]))
    if name == "*" and parts[1][0] in ("+", "-") and rng.random() < 0.7:
        _, one, other = parts[1]
        return (parts[1][0], ("*", parts[0], one), ("*", parts[0], other))
    if name == "/" and rng.random() < 0.5:
        factor = ("number", rng.randint(2, 7))
        return ("/", ("*", factor, parts[0]), ("*", parts[1], factor))
    return (name, *parts)


def respaced(rng: random.Random, gold: str) -> str:
    """A gold answer written in another way that says the same."""
    text = gold
    if rng.random() < 0.5:
        text = text.replace("\\frac", rng.choice(["\\dfrac", "\\tfrac"]))
    # One pair of parentheses: of ( and ] a half-open interval is made, and neither is a pair.
    one_pair = text.count("(") == text.count(")") == 1 and text.index("(") < text.index(")")
    if rng.random() < 0.5 and one_pair and "\\left" not in text and "\\right" not in text:
        text = text.replace("(", "\\left(").replace(")", "\\right)")
    if rng.random() < 0.5:
        text = re.sub(r"(?<=[0-9a-z)}])([+=])(?=[0-9a-z(\\])", r" \1 ", text)
    return rng.choice(["{}", "${}$", " {} ", "{}.", "\\displaystyle {}"]).format(text)


def changed(rng: random.Random, gold: str) -> str | None:
    """A plain number or fraction with one digit or its sign changed; None for other golds."""
    if not re.fullmatch(r"-?\d+|-?\\d?frac\{\d+\}\{\d+\}", gold) or "0" in gold:
        return None
    if rng.random() < 0.2:
        return gold[1:] if gold.startswith("-") else f"-{gold}"
    places = [place for place, char in enumerate(gold) if char.isdigit()]
    place = rng.choice(places)
    fraction = re.fullmatch(r"-?\\d?frac\{(\d+)\}\{(\d+)\}", gold)
    digit = str((int(gold[place]) + rng.randint(1, 8)) % 10)
    text = f"{gold[:place]}{digit}{gold[place + 1 :]}"
    made = re.fullmatch(r"-?\\d?frac\{(\d+)\}\{(\d+)\}", text)
    if fraction and made:
        a, b, c, d = (int(part) for part in (*fraction.groups(), *made.groups()))
        return None if a * d == b * c or d == 0 else text
    return text


def cases(seed: int, golds: list[str], responses: list[tuple[str, str]]) -> Iterator[Case]:
    """Cases without end. responses: real ones with their golds."""
    rng = random.Random(seed)
    garbage = fuzz_math.cases(seed, golds)
    while True:
        kind = rng.choice(KINDS)
        case: Case = {"kind": kind, "expected": None}
        if kind == "garbage":
            case["answer"], case["gold"] = next(garbage)
        elif kind == "bytes":
            text = rng.randbytes(rng.randint(1, 300)).decode("latin-1")
            case["answer"], case["gold"] = text, rng.choice([text, rng.choice(golds)])
        elif kind == "gold":
            gold = rng.choice(golds)
            case.update(answer=respaced(rng, gold), gold=gold, expected=True)
        elif kind == "changed":
            gold = rng.choice(golds)
            other_gold = changed(rng, gold)
            if other_gold is None:
                continue
            case.update(answer=other_gold, gold=gold, expected=False)
        elif kind == "parts":
            case["kind"], (answer, gold, says_same) = fuzz_answers.made(rng)
            case.update(answer=answer, gold=gold, expected=says_same)
        elif kind == "real":
            response, gold = rng.choice(responses)
            cut = rng.randrange(len(response) + 1)
            piece = rng.choice([rng.choice(fuzz_math.PIECES), rng.randbytes(8).decode("latin-1")])
            case.update(response=response[:cut] + piece + response[cut:], gold=gold)
        else:
            tree = expression(rng, rng.randint(1, 3))
            other = wrong(rng, tree) if kind == "wrong" else same(rng, tree)
            known = sum(one is not None for one in values(tree)) >= 3
            if not known or (kind == "wrong" and not differ(tree, other)):
                continue
            case.update(answer=latex(other), gold=latex(tree), expected=kind == "same")
        yield case


def check(case: Case) -> str:
    """What does not hold of a case; "" if all does. Raises what a verifier must never raise."""
    response = case.get("response")
    response = f"\\boxed{{{case['answer']}}}" if response is None else response
    start = time.process_time()
    first = judge(response, case["gold"], seconds=FALLBACK_SECONDS)
    seconds = time.process_time() - start
    if seconds > OWN_SECONDS:
        return f"our reader computed for {seconds:.2f} s"
    again = first
    if first.verdict != "timeout":
        again = judge(response, case["gold"], seconds=FALLBACK_SECONDS)
    if first.verdict != again.verdict != "timeout":
        return f"{first.verdict}, then {again.verdict}"
    if first.outcome is None:
        return f"no verdict: {first.detail}"
    expected = case["expected"]
    if expected is not None and first.outcome != float(expected) and first.verdict != "timeout":
        return f"{first.verdict}, where {expected} is known: {first.detail}"
    if case["kind"] in ("wrong", "same"):
        back = judge(f"\\boxed{{{case['gold']}}}", case["answer"], seconds=FALLBACK_SECONDS)
        if back.outcome != first.outcome and "timeout" not in (first.verdict, back.verdict):
            return f"{first.verdict}, but {back.verdict} the other way round"
    return ""


def material(data: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Golds and real responses of the shared data; a few that stand for them where absent."""
    golds = fuzz_math.real_answers()
    if not (data / "real_responses.jsonl.gz").exists():
        return golds, [("So $\\boxed{5}$.", "5")]
    import gzip

    with gzip.open(data / "real_responses.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return golds, [(row["response"], row["gold"]) for row in rows]
