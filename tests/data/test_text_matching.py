"""Sameness of problems: numbers small enough for paper, a slow loop, properties, real data sets."""

import random

import pytest

from prime_core.data.text_matching import (
    MAX_PROBLEMS_SHARING,
    BenchmarkTexts,
    HeldOut,
    Match,
    ngrams,
    normalised,
    text_key,
    words,
)
from tests.support.shared_data import read_jsonl

ABC = "one two three four five six seven eight nine ten"


def look(texts: list[str], size: int, text: str) -> Match | None:
    index = BenchmarkTexts([("b", str(n), t) for n, t in enumerate(texts)], size)
    return index.find(text, text_key(text))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is $x+1$?", "what is  x + 1 ?"),
        ("A\n\nB", "a b"),
        ("cafe\u0301", "CAF\u00c9"),
        ("\\frac{1}{2}", "\\frac {1} {2}"),
    ],
)
def test_case_spaces_and_dollar_signs_do_not_count(one, other):
    assert normalised(one) == normalised(other)
    assert text_key(one) == text_key(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1+2", "1-2"), ("12", "1 2"), ("x^2", "x2"), ("a<b", "a>b")]
)
def test_signs_and_numbers_do_count(one, other):
    assert text_key(one) != text_key(other)


def test_words_leave_out_signs():
    found = words("Find $\\frac{1}{2}x_1$, please!")
    assert found == ["find", "frac", "1", "2", "x", "1", "please"]


@pytest.mark.parametrize("size", [1, 2, 3, 9, 10, 11])
def test_ngrams_are_those_of_a_slow_loop(size):
    sequence = ABC.split()
    slow = [tuple(sequence[i : i + size]) for i in range(len(sequence) - size + 1)]
    assert list(ngrams(sequence, size)) == slow


def test_a_text_matches_by_as_many_words_in_a_row_as_asked():
    found = look(["Zero. One, two three four!"], 4, "Say one two THREE four five")
    assert found == Match("b", "0", "one two three four")
    assert look(["zero one two three four"], 4, "one two three 4 four") is None
    assert look(["zero one two three four"], 5, "say one two three four five") is None


def test_short_texts_match_as_a_whole_only():
    assert look(["1+2=?"], 13, "1 + 2 = ?") == Match("b", "0", "the whole text")
    assert look(["1+2=?"], 13, "1-2=?") is None
    assert look(["1+2=?"], 13, "What is 1+2=?") is None


def test_what_many_problems_share_is_no_match():
    asked = "write a program and show it at the end"
    problems = [f"task{n} alpha{n} beta{n} {asked}" for n in range(MAX_PROBLEMS_SHARING + 1)]
    assert look(problems[:-1], 4, f"another thing {asked}") is not None
    assert look(problems, 4, f"another thing {asked}") is None
    assert look(problems, 4, "task2 alpha2 beta2 write a sonnet") is not None
    # The same problem several times over is not a way of asking.
    assert look([problems[0]] * 9, 4, f"another thing {asked}") is not None


def test_matches_are_those_of_a_slow_loop():
    rng = random.Random(0)
    texts = [" ".join(rng.choices("abc", k=rng.randint(2, 9))) for _ in range(40)]
    index = BenchmarkTexts([("b", str(n), t) for n, t in enumerate(texts[:3])], 4)
    num_found = 0
    for text in texts[3:]:
        padded = f" {text} "
        runs = (t.split()[i : i + 4] for t in texts[:3] for i in range(len(t.split()) - 3))
        slow = text in texts[:3] or any(f" {' '.join(run)} " in padded for run in runs)
        found = index.find(text, text_key(text))
        assert (found is not None) == slow, text
        num_found += slow
    assert 0 < num_found < 37


@pytest.mark.parametrize("num", [0, 1, 7, 50, 60])
def test_the_same_texts_are_held_out_in_any_order_and_number(num):
    rows = [f"problem {n}" for n in range(50)]
    expected = sorted(rows, key=text_key)[:num]

    def split(order: list[str]) -> tuple[list[str], list[str]]:
        apart = HeldOut[str](num)
        rest = [row for one in order for row in apart.offer(text_key(one), one)]
        return apart.rows(), rest

    for seed in range(3):
        order = random.Random(seed).sample(rows, len(rows))
        held_out, rest = split(order)
        assert held_out == expected
        assert sorted(held_out + rest) == sorted(rows)
        part = set(split(order[:40])[0])
        assert set(expected) & set(order[:40]) <= part


def test_equal_texts_stay_on_one_side():
    apart = HeldOut[int](1)
    given = [(5, 1), (5, 2), (3, 3), (5, 4), (3, 5), (4, 6)]
    rest = [row for key, row in given for row in apart.offer(key, row)]
    assert apart.rows() == [3, 5]
    assert rest == [1, 2, 4, 6]


def test_gsm8ks_own_test_set_is_found_and_its_training_set_nearly_free_of_it():
    test = [row["question"] for row in read_jsonl("gsm8k_test.jsonl.gz")]
    train = [row["question"] for row in read_jsonl("gsm8k_train.jsonl.gz")][:2000]
    index = BenchmarkTexts([("gsm8k", str(n), t) for n, t in enumerate(test)], 13)
    assert all(index.find(text, text_key(text)) for text in test[:200])
    reworded = [f"Dear all, {text} Thank you." for text in test if len(words(text)) > 20][:200]
    assert sum(index.find(text, text_key(text)) is not None for text in reworded) == 200
    assert sum(index.find(text, text_key(text)) is not None for text in train) <= 4
