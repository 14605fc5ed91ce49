"""Garbage for the mathematical verifier: no exception, no case over the time limit.

The test suite runs a short part (test_math_fuzz.py), `python -m benchmarks.fuzz` runs for as long
as one likes. Cases are drawn from grammar, from mutated real answers where the shared folder is
present, and from repetition, which is what makes parsers slow.
"""

import random
import time
from collections.abc import Callable, Iterator

from prime_core.verifiers.math.compare import compare
from prime_core.verifiers.math.extract import MAX_ANSWER_CHARS, extract
from prime_core.verifiers.math.normalise import normalise

# A case takes 0.2 s at most; what has no bound takes longer than this on a slow machine, too.
BOUND_SECONDS = 20.0

PIECES = [
    *"0123456789abcdefgnxyABCXYZ",
    *"+-*/^_=<>()[]{}|,;:.!%$&'~\\\"#@? \n\t",
    "\\frac", "\\frac{1}{2}", "\\dfrac", "\\sqrt", "\\sqrt[3]{", "\\left(", "\\right)", "\\left[",
    "\\right]", "\\{", "\\}", "\\pm", "\\mp", "\\cdot", "\\times", "\\pi", "\\infty", "\\theta",
    "\\Theta", "\\sin", "\\cos", "\\log_", "\\ln", "\\binom", "\\sum_{k=1}^{", "\\prod_{k=1}^{",
    "\\le", "\\ge", "\\ne", "\\in", "\\cup", "\\cap", "\\setminus", "\\mathbb{R}", "\\text{",
    "\\text{ cm}", "\\text{ and }", "\\mathrm{", "\\mbox{", "\\begin{pmatrix}", "\\end{pmatrix}",
    "\\begin{array}{c}", "\\end{array}", "\\begin{cases}", "\\\\", "\\boxed{", "\\fbox{", "\\%",
    "\\$", "^\\circ", "^{\\circ}", "\\overline{", "\\lfloor", "\\rfloor", "\\lceil", "\\rceil",
    "\\langle", "\\rangle", "\\emptyset", "\\ldots", "\\quad", "\\,", "\\!", "\\;", "10^", "9^9",
    "!!", "\\bmod", "\\approx", "\\displaystyle", "\\color{red}", "½", "²", "π", "≤", "∞", "−", "٣",
    "\x00", "\u200b", "é̀", "𝟘", "𝔸", "1e9", "1e999", "0.", ".5", "1,000", "3 1/2", "1011_2",
    "and", "or", "x=", "f(x)=", "(1,2)", "[1,2)", "{1,2}", "5 cm", "Monday", "\\angle", "**",
]  # fmt: skip


def piece_string(rng: random.Random) -> str:
    """Random pieces in a row."""
    return "".join(rng.choices(PIECES, k=rng.randint(1, 40)))


def repeated(rng: random.Random) -> str:
    """A short string many times, between two others."""
    times = rng.choice([3, 30, 300, 3_000, 20_000])
    unit = "".join(rng.choices(PIECES, k=rng.randint(1, 3)))
    return piece_string(rng)[:8] + (unit * times)[:60_000] + piece_string(rng)[:8]


def nested(rng: random.Random) -> str:
    """Brackets, fractions or powers in one another."""
    opening, closing = rng.choice(
        [("(", ")"), ("{", "}"), ("\\sqrt{", "}"), ("\\frac{1}{1+", "}"), ("2^{", "}"), ("|", "|"),
         ("\\{", "\\}"), ("[", "]"), ("\\sin(", ")"), ("-", ""), ("\\text{", "}"), ("x_{", "}"),
         ("\\begin{pmatrix}", "\\end{pmatrix}"), ("f(", ")"), ("\\sum_{k=1}^{9}", "k"), ("", "!")]
    )  # fmt: skip
    depth = rng.choice([2, 10, 39, 45, 200, 3_000])
    return opening * depth + rng.choice(["5", "x", "x+1", "1,2"]) + closing * depth


def expression(rng: random.Random, depth: int = 4) -> str:
    """Well-formed mathematics."""
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(["x", "n", "k", "2", "7", "0.5", "\\pi", "e", "i", "10", "-3", "100"])
    one, other = expression(rng, depth - 1), expression(rng, depth - 1)
    return rng.choice(
        [f"{one}+{other}", f"({one})({other})", f"\\frac{{{one}}}{{{other}}}", f"\\sqrt{{{one}}}",
         f"({one})^{{{other}}}", f"\\sin({one})", f"\\ln({one})", f"({one})!", f"|{one}|",
         f"\\binom{{{one}}}{{{other}}}", f"\\lfloor {one}\\rfloor", f"{one},{other}",
         f"({one},{other})", f"{one}={other}", f"{one}\\le {other}", f"\\{{{one},{other}\\}}",
         f"{one}\\pm {other}", f"\\sqrt[{one}]{{{other}}}", f"\\log_{{{one}}}({other})",
         f"[{one},{other})\\cup({other},{one}]", f"\\sum_{{k=1}}^{{{one}}}{other}",
         f"({one})\\bmod({other})", f"\\gcd({one},{other})", f"\\tan({one})", f"f({one})"]
    )  # fmt: skip


def mutated(rng: random.Random, answers: list[str]) -> str:
    """A real answer with a few characters replaced, doubled or lost."""
    text = list(rng.choice(answers))
    for _ in range(rng.randint(0, 4)):
        place = rng.randrange(len(text) + 1)
        action = rng.random()
        if action < 0.4:
            text.insert(place, rng.choice(PIECES))
        elif text and action < 0.7:
            text.pop(min(place, len(text) - 1))
        else:
            text[place:place] = text[:place]
    return "".join(text)


def cases(seed: int, answers: list[str]) -> Iterator[tuple[str, str]]:
    """Pairs (answer, gold) without end."""
    rng = random.Random(seed)
    makers: list[Callable[[random.Random], str]] = [
        piece_string, repeated, nested, expression, expression, lambda r: mutated(r, answers),
        lambda r: mutated(r, answers),
    ]  # fmt: skip
    while True:
        answer, gold = (rng.choice(makers)(rng) for _ in range(2))
        if rng.random() < 0.2:
            gold = answer
        yield answer, gold


def check(answer: str, gold: str) -> float:
    """Run every part on one pair; processor seconds. Raises what a verifier must never raise."""
    start = time.process_time()
    for response in (answer, f"\\boxed{{{answer}}}", f"<answer>{answer}</answer> \\boxed"):
        for policy in ("no_answer", "last_line"):
            extract(response, policy)
    once = normalise(answer)
    assert isinstance(once, str)
    compare(answer[:MAX_ANSWER_CHARS], gold[:MAX_ANSWER_CHARS])
    return time.process_time() - start


def real_answers() -> list[str]:
    """Gold answers of the shared data, or a few that stand for them."""
    from tests.support.shared_data import SHARED, read_jsonl

    if not (SHARED / "data" / "math_test5000.jsonl.gz").exists():
        return ["\\frac{3}{4}", "(1,2]", "x^2+3x-6", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"]
    return sorted({row["answer"] for row in read_jsonl("math_test5000.jsonl.gz")})
