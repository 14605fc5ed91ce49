"""Differences and means of accuracies that were measured apart."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from prime_core.evaluation.statistics.differences import Estimate, difference, mean_of, reading
from prime_core.evaluation.statistics.intervals import mean_interval


def share(right: int, num_problems: int) -> Estimate:
    return Estimate(*mean_interval(np.arange(num_problems) < right))


SHARES = st.integers(1, 60).flatmap(lambda n: st.builds(share, st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [  # Newcombe 1998, table II, method 10
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((0, 10, 0, 10), -0.2775, 0.2775),
        ((10, 10, 0, 20), 0.6791, 1.0),
        ((10, 10, 0, 10), 0.6075, 1.0),
    ],
)
def test_intervals_are_those_of_newcombes_table(counts, low, high):
    right, total, other_right, other_total = counts
    found = difference(share(right, total), share(other_right, other_total))
    assert found.mean == pytest.approx(right / total - other_right / other_total)
    assert [found.low, found.high] == pytest.approx([low, high], abs=5e-5)


@given(SHARES, SHARES)
def test_exchanging_the_two_turns_the_sign(first, second):
    one, other = difference(first, second), difference(second, first)
    assert (one.mean, one.low, one.high) == pytest.approx((-other.mean, -other.high, -other.low))
    assert -1 - 1e-12 <= one.low <= one.mean <= one.high <= 1 + 1e-12


@given(SHARES, st.floats(0, 1))
def test_beside_an_exact_figure_only_the_own_interval_counts(first, exact):
    found = difference(first, Estimate(exact, exact, exact))
    expected = (first.low - exact, first.high - exact)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("p", "q"), [(0.5, 0.5), (0.267, 0.2), (0.792, 0.75)])
def test_the_interval_covers_the_true_difference_in_about_95_of_100_cases(p, q):
    n, m = 30, 40
    covered = 0.0
    chances, other_chances = binom.pmf(range(n + 1), n, p), binom.pmf(range(m + 1), m, q)
    shares, other_shares = [share(k, n) for k in range(n + 1)], [share(k, m) for k in range(m + 1)]
    for first, chance in zip(shares, chances, strict=True):
        for second, other_chance in zip(other_shares, other_chances, strict=True):
            found = difference(first, second)
            covered += chance * other_chance * (found.low <= p - q <= found.high)
    assert 0.93 < covered < 0.98


@given(st.lists(SHARES, min_size=1, max_size=8))
def test_a_mean_is_that_of_a_loop_and_no_less_certain_than_its_parts(figures):
    found = mean_of(figures)
    total = below = above = 0.0
    for figure in figures:
        total += figure.mean
        below += (figure.mean - figure.low) ** 2
        above += (figure.high - figure.mean) ** 2
    n = len(figures)
    assert found.mean == pytest.approx(total / n)
    assert found.mean - found.low == pytest.approx(math.sqrt(below) / n, abs=1e-12)
    assert found.high - found.mean == pytest.approx(math.sqrt(above) / n, abs=1e-12)
    widest = max(figure.high - figure.low for figure in figures)
    assert found.high - found.low <= widest + 1e-12


def test_one_figure_is_its_own_mean():
    found = mean_of([Estimate(0.4, 0.3, 0.6)])
    assert (found.mean, found.low, found.high) == pytest.approx((0.4, 0.3, 0.6))
    with pytest.raises(ValueError, match="at least one figure"):
        mean_of([])


def test_a_difference_is_read_by_its_interval():
    assert reading(Estimate(0.1, 0.01, 0.2)) == "above"
    assert reading(Estimate(-0.1, -0.2, -0.01)) == "below"
    assert reading(Estimate(0.1, -0.01, 0.2)) == "within error"
