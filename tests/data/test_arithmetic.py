"""The arithmetic problems: distinct, held out, checked, and the same everywhere."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prime_core.data.arithmetic import (
    chain,
    demonstrations,
    guess,
    nth_sum,
    num_sums,
    problems,
    terms_of,
)

RANGES = {"max_number": 19, "min_terms": 2, "max_terms": 3}
PINNED_PROBLEMS = [
    "arithmetic-12+4+2",
    "arithmetic-18+2+14",
    "arithmetic-9+5+11",
    "arithmetic-11+15+4",
    "arithmetic-6+19+11",
]
PINNED_RESPONSES = [
    r"15+4=19, 19+11=30: \boxed{30}",
    r"maybe \boxed{33}",
    r"maybe \boxed{26}",
    r"4+11=15, 15+15=30: \boxed{30}",
]


def sums_of(rows):
    return [tuple(sorted(terms_of(row))) for row in rows]


def box_of(response):
    return re.findall(r"\\boxed\{(\d+)\}", response)[-1]


@pytest.fixture(scope="module")
def splits():
    return problems(num_train=2000, num_validation=200, seed=0, **RANGES)


def test_every_sum_has_exactly_one_rank():
    ranges = {"max_number": 4, "min_terms": 1, "max_terms": 3}
    sums = [nth_sum(rank, **ranges) for rank in range(num_sums(**ranges))]
    assert len(set(sums)) == len(sums) == 5 + 15 + 35
    assert all(list(terms) == sorted(terms) and max(terms) <= 4 for terms in sums)


def test_a_rank_beyond_memory_is_a_sum_too():
    ranges = {"max_number": 10**9, "min_terms": 2, "max_terms": 6}
    assert nth_sum(num_sums(**ranges) - 1, **ranges) == (10**9,) * 6


def test_no_validation_sum_is_asked_in_training_in_any_order(splits):
    train, validation = sums_of(splits["train"]), sums_of(splits["validation"])
    assert len(set(train)) == len(train)
    assert len(set(validation)) == len(validation) == 200
    assert not set(train) & set(validation)


def test_train_takes_what_is_left_where_fewer_sums_exist_than_asked_for(splits):
    assert len(splits["train"]) == num_sums(**RANGES) - 200 == 1550


def test_no_demonstration_asks_a_validation_sum_in_any_order(splits):
    rows = demonstrations(
        splits["train"],
        num_demonstrations=5000,
        guess_share=0.5,
        guess_accuracy=0.1,
        max_error=9,
        seed=0,
    )
    asked = {
        tuple(sorted(map(int, re.findall(r"\d+", row["prompt"][0]["content"])))) for row in rows
    }
    assert asked <= set(sums_of(splits["train"]))


def test_a_problem_is_a_row_of_messages_and_a_checked_answer(splits):
    for row in splits["train"] + splits["validation"]:
        terms = terms_of(row)
        assert row == {
            "prompt_id": "arithmetic-" + "+".join(map(str, terms)),
            "prompt": [{"role": "user", "content": "+".join(map(str, terms)) + "=?"}],
            "ability": "math",
            "ground_truth": str(sum(terms)),
            "data_source": "arithmetic",
        }


def test_terms_stand_in_every_order(splits):
    terms = [terms_of(row) for row in splits["train"]]
    assert any(list(t) != sorted(t) for t in terms)
    assert any(list(t) == sorted(t) for t in terms)


def test_the_same_seed_gives_the_same_rows_on_every_machine():
    splits = problems(num_train=3, num_validation=2, seed=7, **RANGES)
    assert [row["prompt_id"] for row in splits["validation"] + splits["train"]] == PINNED_PROBLEMS
    rows = demonstrations(
        splits["train"],
        num_demonstrations=4,
        guess_share=0.5,
        guess_accuracy=0.1,
        max_error=9,
        seed=7,
    )
    assert [row["response"] for row in rows] == PINNED_RESPONSES


def test_another_seed_gives_other_problems(splits):
    other = problems(num_train=2000, num_validation=200, seed=1, **RANGES)
    assert other["validation"] != splits["validation"]


def test_validation_does_not_depend_on_the_number_of_training_problems(splits):
    fewer = problems(num_train=10, num_validation=200, seed=0, **RANGES)
    assert len(fewer["train"]) == 10
    assert fewer["validation"] == splits["validation"]


def test_a_chain_adds_one_term_a_step():
    assert chain((3, 4, 5)) == r"3+4=7, 7+5=12: \boxed{12}"
    assert chain((3,)) == r"\boxed{3}"


def test_a_guess_shows_no_work():
    assert guess(11) == r"maybe \boxed{11}"


@settings(max_examples=20, deadline=None)
@given(
    share=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    accuracy=st.sampled_from([0.0, 0.1, 1.0]),
    max_error=st.integers(1, 20),
    seed=st.integers(0, 2**32),
)
def test_chains_are_right_and_guesses_as_often_as_asked(splits, share, accuracy, max_error, seed):
    rows = demonstrations(
        splits["train"],
        num_demonstrations=600,
        guess_share=share,
        guess_accuracy=accuracy,
        max_error=max_error,
        seed=seed,
    )
    guesses = right_guesses = 0
    for row in rows:
        terms = tuple(map(int, re.findall(r"\d+", row["prompt"][0]["content"])))
        answer = int(box_of(row["response"]))
        if row["response"].startswith("maybe"):
            guesses += 1
            right_guesses += answer == sum(terms)
            assert answer >= 0
            assert abs(answer - sum(terms)) <= max_error
        else:
            assert row["response"] == chain(terms)
    assert guesses / 600 == pytest.approx(share, abs=0.12)
    assert right_guesses / max(guesses, 1) == pytest.approx(accuracy if guesses else 0, abs=0.15)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"num_train": 0}, "num_train = 0"),
        ({"num_validation": -1}, "num_validation = -1"),
        ({"num_validation": 1750}, "num_validation = 1750: only 1750"),
        ({"min_terms": 4}, "min_terms = 4"),
        ({"min_terms": 0}, "min_terms = 0"),
        ({"max_number": -1}, "max_number = -1"),
    ],
)
def test_an_impossible_setting_is_refused_by_name_and_value(changed, named):
    wanted = {"num_train": 10, "num_validation": 10, "seed": 0, **RANGES, **changed}
    with pytest.raises(ValueError, match=named):
        problems(**wanted)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"guess_share": 1.5}, r"guess_share = 1\.5"),
        ({"guess_accuracy": -0.1}, r"guess_accuracy = -0\.1"),
        ({"max_error": 0}, "max_error = 0"),
        ({"train": []}, "at least one training problem"),
    ],
)
def test_impossible_demonstrations_are_refused_by_name_and_value(splits, changed, named):
    wanted = {
        "train": splits["train"],
        "num_demonstrations": 5,
        "guess_share": 0.5,
        "guess_accuracy": 0.1,
        "max_error": 9,
        "seed": 0,
        **changed,
    }
    with pytest.raises(ValueError, match=named):
        demonstrations(wanted.pop("train"), **wanted)
