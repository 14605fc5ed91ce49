"""Intervals of accuracies, against published values, a bisection, and simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prime_core.evaluation.statistics.intervals import (
    Z_95,
    mean_interval,
    pass_at_k,
    ratio_interval,
)


def score_bound(mean: float, count: float, side: float) -> float:
    """Wilson's bound by bisection: the p at which `mean` lies exactly z standard errors away."""
    inside, outside = mean, (1.0 if side > 0 else 0.0)
    for _ in range(200):
        middle = (inside + outside) / 2
        error = math.sqrt(middle * (1 - middle) / count)
        if abs(mean - middle) <= Z_95 * error:
            inside = middle
        else:
            outside = middle
    return inside


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [  # Newcombe 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_one_sample_a_problem_gives_wilsons_published_intervals(correct, total, low, high):
    outcomes = np.r_[np.ones(correct), np.zeros(total - correct)]
    mean, found_low, found_high = mean_interval(outcomes)
    assert mean == pytest.approx(correct / total)
    assert (found_low, found_high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_clustered_interval_solves_the_score_equation_at_the_effective_sample_size():
    means = np.array([0.0, 0.25, 0.25, 0.5, 0.75, 1.0, 1.0, 0.5])
    p = sum(means) / 8
    spread = sum((m - p) ** 2 for m in means) / 8
    count = 8 * p * (1 - p) / spread
    assert mean_interval(means) == pytest.approx(
        (p, score_bound(p, count, -1), score_bound(p, count, +1)), abs=1e-9
    )


def test_repeating_the_same_answer_does_not_narrow_the_interval_but_disagreeing_samples_do():
    once = mean_interval([1, 0, 1, 0, 1, 1])
    repeated = mean_interval([np.mean([x] * 4) for x in (1, 0, 1, 0, 1, 1)])
    varied = mean_interval([0.75, 0.5, 0.75, 0.5, 0.75, 0.75])
    assert repeated == once
    assert varied[0] == pytest.approx(once[0])
    assert varied[2] - varied[1] < once[2] - once[1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_interval_is_within_zero_and_one_around_the_mean_and_mirrors(means):
    mean, low, high = mean_interval(means)
    assert 0 <= low <= mean <= high <= 1
    assert low < high
    mirrored = mean_interval([1 - m for m in means])
    assert mirrored[1] == pytest.approx(1 - high, abs=1e-6)


def test_interval_covers_the_true_accuracy_in_about_95_percent_of_experiments():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        difficulty = rng.beta(2, 1, size=80)  # mean 2/3
        _, low, high = mean_interval(rng.binomial(4, difficulty) / 4)
        covered += low <= 2 / 3 <= high
    assert 0.93 <= covered / 1000 <= 0.97


@pytest.mark.parametrize("wrong", [[], [0.5, 1.5], [float("nan")], [[0.5]]])
def test_no_problems_or_means_outside_zero_to_one_are_refused(wrong):
    with pytest.raises(ValueError, match="expected at least one mean"):
        mean_interval(wrong)


@pytest.mark.parametrize(("num_samples", "num_correct"), [(5, 0), (5, 2), (6, 5), (4, 4)])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(num_samples, num_correct):
    outcomes = [1] * num_correct + [0] * (num_samples - num_correct)
    for k in range(1, num_samples + 1):
        subsets = list(itertools.combinations(outcomes, k))
        share = sum(any(subset) for subset in subsets) / len(subsets)
        assert pass_at_k(num_samples, num_correct, k) == pytest.approx(share)


@given(st.integers(1, 200), st.data())
def test_pass_at_k_is_the_published_product_and_grows_with_k(num_samples, data):
    num_correct = data.draw(st.integers(0, num_samples))
    k = data.draw(st.integers(1, num_samples))
    factors = [1 - k / i for i in range(num_samples - num_correct + 1, num_samples + 1)]
    wrong = num_samples - num_correct
    published = 1.0 if wrong < k else 1 - math.prod(factors)
    assert pass_at_k(num_samples, num_correct, k) == pytest.approx(published, abs=1e-12)
    assert pass_at_k(num_samples, num_correct, 1) == num_correct / num_samples
    if k > 1:
        assert pass_at_k(num_samples, num_correct, k) >= pass_at_k(num_samples, num_correct, k - 1)


def test_pass_at_k_is_unbiased_where_one_minus_the_power_is_not():
    rng = np.random.default_rng(0)
    right = rng.binomial(6, 0.3, size=4000)
    truth = 1 - 0.7**4
    assert np.mean([pass_at_k(6, int(c), 4) for c in right]) == pytest.approx(truth, abs=0.015)
    assert np.mean(1 - (1 - right / 6) ** 4) < truth - 0.03


@pytest.mark.parametrize("wrong", [(4, 2, 5), (4, 2, 0), (4, 5, 1), (4, -1, 1)])
def test_pass_at_k_of_too_few_samples_is_refused(wrong):
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(*wrong)


def test_a_ratio_of_equal_clusters_is_their_mean_and_of_others_weighs_by_size():
    shares = np.array([0.0, 0.25, 0.5, 1.0])
    assert ratio_interval(4 * shares, np.full(4, 4.0)) == pytest.approx(mean_interval(shares))
    mean, low, high = ratio_interval([1, 30], [1, 90])
    assert mean == pytest.approx(31 / 91)
    assert 0 <= low < mean < high <= 1
    assert ratio_interval([3, 4], [3, 4])[2] == 1.0
    with pytest.raises(ValueError, match="at least one unit"):
        ratio_interval([0.0], [0.0])
    with pytest.raises(ValueError, match="x_i <= n_i"):
        ratio_interval([2.0], [1.0])


def test_a_ratio_of_independent_pairs_is_covered_as_often_as_its_interval_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        sizes = rng.integers(1, 16, 60)
        rates = rng.beta(8, 2, 60)
        _, low, high = ratio_interval(rng.binomial(sizes, rates), sizes)
        covered += low <= 0.8 <= high
    assert 0.92 < covered / 400 < 0.98
