"""What seeds say: intervals of paired differences, and the rule that reads them."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prime_core.ablations.findings import (
    Estimate,
    area,
    mean_over_seeds,
    paired_difference,
    read,
)

# 97.5 % points of Student's t by degrees of freedom, as printed in any table of it.
T_TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262}

figures = st.lists(st.floats(-1, 1).map(lambda x: round(x, 6)), min_size=2, max_size=8)


@pytest.mark.parametrize(("degrees", "quantile"), T_TABLE.items())
def test_the_interval_has_the_width_that_a_table_of_t_gives(degrees, quantile):
    values = [0.0, *[1.0] * degrees]
    estimate = mean_over_seeds(values)
    half = quantile * statistics.stdev(values) / math.sqrt(degrees + 1)
    assert estimate.num_seeds == degrees + 1
    assert estimate.mean == pytest.approx(degrees / (degrees + 1))
    assert estimate.high - estimate.mean == pytest.approx(half, rel=2e-4)
    assert estimate.mean - estimate.low == pytest.approx(half, rel=2e-4)


def test_three_seeds_by_hand():
    """s = 1, half = 4.3027 / sqrt(3)."""
    estimate = mean_over_seeds([1.0, 2.0, 3.0])
    assert estimate.low == pytest.approx(-0.4841, abs=1e-4)
    assert estimate.high == pytest.approx(4.4841, abs=1e-4)


def test_one_seed_has_a_mean_and_no_interval_and_none_has_nothing():
    one, none = mean_over_seeds([0.5]), mean_over_seeds([])
    assert (one.num_seeds, one.mean) == (1, 0.5)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert none.num_seeds == 0
    assert math.isnan(none.mean)


@given(figures, st.floats(-1, 1), st.floats(0.1, 10))
def test_intervals_move_and_stretch_with_the_figures(values, shift, scale):
    plain = mean_over_seeds(values)
    moved = mean_over_seeds([scale * value + shift for value in values])
    assert moved.low == pytest.approx(scale * plain.low + shift, abs=1e-6)
    assert moved.high == pytest.approx(scale * plain.high + shift, abs=1e-6)


@given(figures, figures)
def test_differences_are_taken_seed_by_seed(first, second):
    """A slow loop over the seeds that both have, however the mappings are ordered."""
    a, b = dict(enumerate(first)), dict(reversed(list(enumerate(second))))
    differences = []
    for seed, value in a.items():
        for other_seed, other in b.items():
            if seed == other_seed:
                differences.append(value - other)
    assert paired_difference(a, b) == mean_over_seeds(differences)


def test_what_a_seed_does_to_both_falls_out():
    seeds = {0: 0.1, 1: 0.5, 2: 0.9}
    better = {seed: value + 0.02 for seed, value in seeds.items()}
    difference = paired_difference(better, seeds)
    assert difference.low == pytest.approx(0.02)
    assert difference.high == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("finding", "low", "high", "reading"),
    [
        ("first", 0.001, 0.05, "yes"),
        ("first", -0.05, -0.001, "no"),
        ("first", -0.001, 0.05, "not distinguishable"),
        ("first", 0.0, 0.05, "not distinguishable"),
        ("close", -0.029, 0.029, "yes"),
        ("close", 0.01, 0.02, "yes"),  # a difference, and a small one
        ("close", -0.031, 0.0, "not distinguishable"),
        ("close", 0.02, 0.05, "not distinguishable"),
        ("close", 0.031, 0.05, "no"),
        ("close", -0.05, -0.031, "no"),
        ("none", 0.001, 0.05, "first higher"),
        ("none", -0.05, -0.001, "second higher"),
        ("none", -0.01, 0.01, "not distinguishable"),
    ],
)
def test_the_rule_reads_the_interval_alone(finding, low, high, reading):
    assert read(finding, Estimate(3, (low + high) / 2, low, high), 0.03) == reading


def test_one_seed_tells_nothing_and_none_was_not_run():
    assert read("first", mean_over_seeds([0.5]), 0.03) == "not distinguishable"
    assert read("close", mean_over_seeds([]), 0.03) == "not run"


@given(figures, st.floats(0.001, 1))
def test_swapping_first_and_second_swaps_what_is_read(values, margin):
    plain, swapped = mean_over_seeds(values), mean_over_seeds([-value for value in values])
    opposite = {
        "first higher": "second higher",
        "second higher": "first higher",
        "not distinguishable": "not distinguishable",
    }
    assert opposite[read("none", plain, margin)] == read("none", swapped, margin)
    assert read("close", plain, margin) == read("close", swapped, margin)


def test_the_area_leaves_the_start_out():
    assert area({0: 0.1, 2: 0.4, 4: 0.6}) == pytest.approx(0.5)


@given(st.dictionaries(st.integers(1, 50), st.floats(0, 1), min_size=1))
def test_the_area_lies_between_the_lowest_and_the_highest_figure(curve):
    assert min(curve.values()) - 1e-12 <= area(curve) <= max(curve.values()) + 1e-12


def test_a_curve_of_the_start_alone_has_no_area():
    with pytest.raises(ValueError, match="after iteration 0"):
        area({0: 0.5})
