r"""Random answers of several parts, made wrong or rewritten in a known way.

Lists, tuples, intervals, matrices, units, names, conditions, chains: what an answer has besides an
expression. Each maker returns (answer, gold, whether they say the same).
"""

from __future__ import annotations

import random
from collections.abc import Callable

Made = tuple[str, str, bool]

# Which cannot stand for one another.
UNITS = ("cm", "kg", "seconds", "dollars", "liters", "degrees", "km/h", "meters")
# Change the number that they follow.
NUMBER_WORDS = ("trillion", "tenths", "hundredths", "thirds", "squared", "cubed", "factorial")
CONDITIONS = ("odd", "even", "prime", "positive", "negative", "composite")
SETS = ("\\mathbb{Z}", "\\mathbb{R}", "\\mathbb{Q}")
RELATIONS = ("=", "\\approx", "\\sim", "\\cong", "\\simeq", "\\equiv", "\\ne", "<", "\\le", "\\to")


def numbers(rng: random.Random, num: int) -> list[int]:
    """Different whole numbers, in no order."""
    return rng.sample(range(-30, 100), num)


def members(rng: random.Random) -> Made:
    """A list or set: any order says the same, another member does not."""
    one = numbers(rng, rng.randint(2, 5))
    other = rng.sample(one, len(one))
    same = rng.random() < 0.5
    if not same:
        place = rng.randrange(len(other))
        kept = [*other[:place], *other[place + 1 :]]
        other = rng.choice([kept, [*kept, 101], [*other, 101]])
    form = rng.choice(["{}", "\\{{{}\\}}", "x = {}", "\\left\\{{{}\\right\\}}"])
    texts = [form.format(", ".join(map(str, part))) for part in (other, one)]
    return texts[0], texts[1], same


def ordered(rng: random.Random) -> Made:
    """A tuple or a vector: only the same order says the same."""
    one = numbers(rng, rng.randint(3, 4))
    other = list(one)
    same = rng.random() < 0.5
    if not same:
        other = rng.choice([one[1:] + one[:1], [*one[:-1], one[-1] + 1], one[:-1]])
    form, between = rng.choice(
        [
            ("({})", ", "),
            ("\\left({}\\right)", ","),
            ("\\begin{{pmatrix}}{}\\end{{pmatrix}}", "\\\\"),
        ]
    )
    texts = [form.format(between.join(map(str, part))) for part in (other, one)]
    return texts[0], texts[1], same


def interval(rng: random.Random) -> Made:
    """An interval, as brackets or as inequalities: open and closed ends differ."""
    low, high = sorted(numbers(rng, 2))
    left, right = rng.choice("(["), rng.choice(")]")
    signs = ["<" if left == "(" else "\\le", "<" if right == ")" else "\\le"]
    gold = f"{left}{low}, {high}{right}"
    same = rng.random() < 0.5
    if not same:
        change = rng.randrange(3)
        signs = [{"<": "\\le", "\\le": "<"}[s] if i == change else s for i, s in enumerate(signs)]
        high += change == 2
    return f"{low} {signs[0]} x {signs[1]} {high}", gold, same


def measured(rng: random.Random) -> Made:
    """A number with its unit: left out it says the same, another unit or a number word does not."""
    number, (unit, other) = rng.randint(2, 99), rng.sample(UNITS, 2)
    gold = f"{number} \\text{{ {unit}}}"
    if rng.random() < 0.5:
        return rng.choice([str(number), f"{number}\\text{{{unit}}}"]), gold, True
    word = rng.choice(NUMBER_WORDS)
    if rng.random() < 0.5:
        return f"{number} \\text{{ {word}}}", str(number), False
    return f"{number} \\text{{ {other}}}", gold, False


def named(rng: random.Random) -> Made:
    """Named values: any order says the same, exchanged values do not."""
    names = rng.choice([("x", "y"), ("m", "n"), ("a", "b"), ("p", "q")])
    one, other = numbers(rng, 2)
    gold = f"{names[0]}={one}, {names[1]}={other}"
    if rng.random() < 0.5:
        return f"{names[1]}={other}, {names[0]}={one}", gold, True
    return f"{names[0]}={other}, {names[1]}={one}", gold, False


def conditional(rng: random.Random) -> Made:
    """An expression with a condition: another condition says something else."""
    one, other = rng.sample(CONDITIONS, 2)
    first, second = rng.sample(SETS, 2)
    same = rng.random() < 0.5
    number = rng.randint(2, 9)
    if rng.random() < 0.5:
        form = f"{number}n+1 \\text{{ for all %s integers }} n"
        return form % (one if same else other), form % one, same
    form = f"{number}k\\pi, k\\in %s"
    return form % (first if same else second), form % first, same


def chained(rng: random.Random) -> Made:
    """Different numbers joined by relations: whatever stands last or first, not all of them."""
    values = numbers(rng, rng.randint(3, 6))
    relations = [f" {rng.choice(RELATIONS)} " for _ in values]
    relations[-1] = ""
    head = rng.choice(["", "x = ", "x \\approx ", "y \\in "])
    text = head + "".join(f"{v}{r}" for v, r in zip(values, relations, strict=True))
    return text, str(rng.choice(values[1:-1])), False


def connected(rng: random.Random) -> Made:
    """Two rays: `and` is their intersection, `or` their union."""
    low, high = sorted(numbers(rng, 2))
    word = rng.choice(["and", "or"])
    # Of rays that do not meet, `and` is a loose `or` (docs/verification.md): no case of ours.
    same = rng.random() < 0.5 or word == "or"
    more, less = (high, low) if word == "or" else (low, high)
    form = f"x > {more} \\text{{ %s }} x < {less}"
    return form % (word if same else "or"), form % word, same


MAKERS: tuple[Callable[[random.Random], Made], ...] = (
    members, ordered, interval, measured, named, conditional, chained, connected,
)  # fmt: skip


def made(rng: random.Random) -> tuple[str, Made]:
    """The name of a maker, and what it makes."""
    maker = rng.choice(MAKERS)
    return maker.__name__, maker(rng)
