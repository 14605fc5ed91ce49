"""Short fuzzing of the mathematical verifier; `python -m benchmarks.fuzz` runs for longer."""

from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prime_core.verifiers.math.compare import compare
from prime_core.verifiers.math.extract import extract
from prime_core.verifiers.math.normalise import normalise
from tests.support.fuzz_math import BOUND_SECONDS, PIECES, cases, check, real_answers

TEXTS = st.text(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
NUMBERS = st.integers(-999, 999)
RATIONALS = st.fractions(min_value=-99, max_value=99, max_denominator=99)


@given(TEXTS, TEXTS)
@settings(deadline=None, max_examples=300)
def test_no_text_raises_or_takes_long(answer: str, gold: str) -> None:
    assert check(answer, gold) < BOUND_SECONDS


@given(TEXTS)
@settings(deadline=None, max_examples=200)
def test_every_text_equals_itself(text: str) -> None:
    if normalise(text):
        assert compare(text, text).same


@given(st.text(alphabet="ab{}\\ $", max_size=60))
@settings(deadline=None, max_examples=200)
def test_a_closed_box_at_the_end_is_what_is_read(before: str) -> None:
    assert extract(f"{before}\n \\boxed{{7}}").answer == "7"


@given(RATIONALS, RATIONALS)
@settings(deadline=None, max_examples=200)
def test_fractions_are_equal_exactly_when_their_values_are(one: Fraction, other: Fraction) -> None:
    answer = f"\\frac{{{3 * one.numerator}}}{{{3 * one.denominator}}}"
    gold = f"{other.numerator}/{other.denominator}"
    assert compare(answer, gold).same is (one == other)


@given(st.lists(NUMBERS, min_size=3, max_size=3), st.integers(-3, 3))
@settings(deadline=None, max_examples=100)
def test_products_of_linear_factors_equal_their_expansion(roots: list[int], change: int) -> None:
    a, b, c = roots
    answer = f"(x-({a}))(x-({b}))(x-({c}))"
    gold = f"x^3+({-a - b - c})x^2+({a * b + b * c + a * c})x+({-a * b * c + change})"
    assert compare(answer, gold).same is (change == 0)


@given(st.lists(NUMBERS, min_size=2, max_size=6, unique=True), st.randoms())
@settings(deadline=None, max_examples=100)
def test_lists_and_sets_have_no_order_and_tuples_have(numbers: list[int], random) -> None:
    shuffled = random.sample(numbers, len(numbers))
    one, other = (", ".join(map(str, row)) for row in (shuffled, numbers))
    assert compare(one, other).same
    assert compare(f"\\{{{one}\\}}", f"\\{{{other}\\}}").same
    if numbers[0] < numbers[1] or len(numbers) > 2:  # else no interval, and no tuple either way
        assert compare(f"({one})", f"({other})").same is (shuffled == numbers)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_first_cases_of_the_long_fuzz(seed: int) -> None:
    for answer, gold in islice(cases(seed, real_answers()), 400):
        assert check(answer, gold) < BOUND_SECONDS, (answer[:200], gold[:200])
