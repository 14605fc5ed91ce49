"""Majority, best of n and weighted majority: by hand, by a slow count, and what never matters."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prime_core.evaluation.statistics.voting import best_of, group_answers, majority, vote_weight


def same_number(one: str, other: str) -> bool:
    return float(one) == float(other)


def test_equal_answers_are_one_group_however_they_are_written():
    answers = ["0.5", "2", None, "0.50", "2.0", ".5"]
    assert group_answers(answers, same_number) == [0, 1, None, 0, 1, 0]


def test_an_answer_joins_the_first_group_that_it_equals():
    def near(one: str, other: str) -> bool:
        return abs(int(one) - int(other)) <= 1

    assert group_answers(["0", "2", "1", "3"], near) == [0, 1, 0, 1]


def test_the_answer_with_most_votes_wins_and_of_equals_the_one_sampled_first():
    assert majority([0, 1, 1, None]) == 1
    assert majority([None, 0, 1, 1, 0]) == 1
    assert majority([None, None]) is None
    assert majority([]) is None


def test_weights_may_turn_a_majority_over():
    groups = [0, 1, 0]
    assert majority(groups) == 0
    assert majority(groups, weights=[0.1, 0.9, 0.2]) == 1


def test_equal_sums_of_weights_are_equal_in_whatever_order_they_are_added():
    assert 0.1 + 0.2 + 0.3 != 0.3 + 0.2 + 0.1
    assert majority([0, 0, 0, 1, 1, 1], [0.3, 0.2, 0.1, 0.1, 0.2, 0.3]) == 0


def test_the_best_of_n_is_the_first_of_the_highest_scores():
    assert best_of([-1.0, 2.5, 2.5, 0.0]) == 1


@pytest.mark.parametrize("score", [-800.0, -3.0, 0.0, 0.5, 800.0])
def test_a_vote_weighs_as_much_as_the_probability_that_the_response_is_right(score):
    expected = 1 / (1 + math.exp(-score)) if score > -700 else 0.0
    assert vote_weight(score) == pytest.approx(expected)


@given(st.lists(st.sampled_from(["1", "1.0", "2", "3", None]), max_size=12), st.randoms())
def test_the_majority_is_that_of_a_plain_count(answers: list[str | None], order: random.Random):
    groups = group_answers(answers, same_number)
    counts = Counter(float(answer) for answer in answers if answer is not None)
    place = majority(groups)
    if not counts:
        assert place is None
        return
    assert place is not None
    winner = float(answers[place] or "")
    assert counts[winner] == max(counts.values())
    shuffled = list(answers)
    order.shuffle(shuffled)
    again = majority(group_answers(shuffled, same_number))
    assert again is not None
    assert counts[float(shuffled[again] or "")] == counts[winner]
