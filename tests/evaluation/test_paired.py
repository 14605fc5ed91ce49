"""Paired comparison of two models: published values, exhaustive loops, simulation, properties."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prime_core.evaluation.statistics.intervals import Z_95
from prime_core.evaluation.statistics.paired import compare_paired, sign_test, tango_interval


def pairs(both: int, better: int, worse: int, neither: int) -> tuple[list[float], list[float]]:
    """Outcomes of two models, by how many problems of each kind there are."""
    ours = [1.0] * (both + better) + [0.0] * (worse + neither)
    theirs = [1.0] * both + [0.0] * better + [1.0] * worse + [0.0] * neither
    return ours, theirs


def test_one_response_a_problem_gives_the_published_interval_and_p_value():
    # Fagerland, Lydersen and Laake 2014 (airway reactivity before and after transplantation):
    # Tango's interval (-0.517, -0.026), exact McNemar p 0.0703
    found = compare_paired(*pairs(1, 1, 7, 12))
    assert found.difference == pytest.approx(-6 / 21)
    assert (found.low, found.high) == (
        pytest.approx(-0.517, abs=5e-4),
        pytest.approx(-0.026, abs=5e-4),
    )
    assert found.p_value == pytest.approx(0.0703, abs=5e-5)
    assert (found.test, found.num_better, found.num_worse) == ("exact McNemar", 1, 7)


def score_at(difference: float, better: int, worse: int, total: int) -> float:
    """Tango's score with the likeliest q found by a fine grid, not by the quadratic."""
    same = total - better - worse
    best, chosen = -math.inf, 0.0
    for q in np.linspace(max(0.0, -difference), (1 - difference) / 2, 4001):
        likelihood = 0.0
        for count, share in ((better, q + difference), (worse, q), (same, 1 - 2 * q - difference)):
            likelihood += count * math.log(max(share, 1e-300)) if count else 0.0
        if likelihood > best:
            best, chosen = likelihood, q
    variance = total * (2 * chosen + difference * (1 - difference))
    return (better - worse - total * difference) / math.sqrt(variance)


@pytest.mark.parametrize(("better", "worse", "total"), [(9, 2, 30), (1, 7, 21), (0, 4, 12)])
def test_the_interval_ends_where_the_score_of_the_likeliest_model_is_1_96(better, worse, total):
    low, high = tango_interval(better, worse, total)
    assert score_at(low, better, worse, total) == pytest.approx(Z_95, abs=0.01)
    assert score_at(high, better, worse, total) == pytest.approx(-Z_95, abs=0.01)


def test_the_p_value_is_the_share_of_sign_patterns_as_uneven():
    better, worse = 2, 7
    patterns = list(itertools.product((-1, 1), repeat=better + worse))
    as_uneven = [p for p in patterns if abs(sum(p)) >= abs(better - worse)]
    assert sign_test(better, worse) == pytest.approx(len(as_uneven) / len(patterns))
    assert sign_test(0, 0) == 1.0


def test_several_responses_a_problem_give_the_t_interval_of_the_differences():
    ours, theirs = [0.5, 1.0, 0.25, 0.75], [0.25, 0.75, 0.25, 0.25]
    d = [0.25, 0.25, 0.0, 0.5]
    mean = sum(d) / 4
    error = math.sqrt(sum((x - mean) ** 2 for x in d) / 3 / 4)
    found = compare_paired(ours, theirs)
    assert found.test == "paired t"
    assert found.difference == pytest.approx(mean)
    # 3.182446: 97.5 % quantile of Student's t with 3 degrees of freedom
    assert found.low == pytest.approx(mean - 3.182446 * error)
    assert found.high == pytest.approx(mean + 3.182446 * error)


def test_pairing_sees_a_difference_that_two_separate_intervals_hide():
    difficulty = np.linspace(0, 1, 40)
    found = compare_paired(np.clip(difficulty + 0.05, 0, 1), difficulty)
    assert found.low > 0
    assert found.p_value < 1e-6


def test_equal_models_differ_by_nothing_and_the_interval_has_a_width_still():
    binary = compare_paired(*pairs(3, 0, 0, 2))
    means = compare_paired([0.5, 0.25, 1.0, 0.0, 0.75], [0.5, 0.25, 1.0, 0.0, 0.75])
    for found in (binary, means):
        assert (found.difference, found.p_value) == (0, 1)
        assert found.low == -found.high < -0.1


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_the_difference_is_in_its_interval_and_exchanging_the_models_mirrors_it(rows):
    ours, theirs = (list(column) for column in zip(*rows, strict=True))
    one, other = compare_paired(ours, theirs), compare_paired(theirs, ours)
    assert -1 <= one.low <= one.difference + 1e-9
    assert one.difference - 1e-9 <= one.high <= 1
    assert one.low == pytest.approx(-other.high, abs=1e-6)
    assert one.p_value == pytest.approx(other.p_value, abs=1e-6)
    assert (one.num_better, one.num_worse) == (other.num_worse, other.num_better)


@pytest.mark.parametrize("num_samples", [1, 4])
def test_interval_covers_the_true_difference_in_about_95_percent_of_experiments(num_samples):
    rng = np.random.default_rng(1)
    covered, num_trials = 0, 400
    for _ in range(num_trials):
        ours = rng.beta(2, 1, size=60)  # mean 2/3
        theirs = 0.8 * ours
        found = compare_paired(
            rng.binomial(num_samples, ours) / num_samples,
            rng.binomial(num_samples, theirs) / num_samples,
        )
        covered += found.low <= 0.2 * 2 / 3 <= found.high
    assert 0.92 <= covered / num_trials <= 0.98


@pytest.mark.parametrize("wrong", [([], []), ([0.5], [0.5, 1]), ([1.5], [0]), ([math.nan], [0])])
def test_means_that_do_not_pair_up_or_are_no_shares_are_refused(wrong):
    with pytest.raises(ValueError, match="for each problem"):
        compare_paired(*wrong)
