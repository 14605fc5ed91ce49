import pytest
import torch
from hypothesis import given

from prime_core.filtering import accuracy_filter, truncation_filter
from tests.support.batches import random_batch, seeds
from tests.support.comparison import agree
from tests.support.reference_checks import check
from tests.support.shared_data import reference_names

NAN = float("nan")


def num_kept(num_correct: int, num_samples: int, **settings) -> int:
    outcome = (torch.arange(num_samples) < num_correct).float()
    return int(accuracy_filter(outcome, torch.zeros(num_samples).long(), **settings).sum())


@pytest.mark.parametrize("num_samples", [5, 10, 15, 20, 25, 1005])
def test_accuracies_of_exactly_two_and_eight_tenths_are_inside(num_samples):
    fifth = num_samples // 5
    assert num_kept(fifth, num_samples) == num_samples
    assert num_kept(4 * fifth, num_samples) == num_samples
    assert num_kept(fifth - 1, num_samples) == 0
    assert num_kept(4 * fifth + 1, num_samples) == 0


def test_fractions_in_float32_that_average_to_a_bound_are_inside():
    for bound in (0.2, 0.8):
        assert accuracy_filter(torch.full((5,), bound), torch.zeros(5).long()).all()


def test_exclusive_bounds_leave_out_the_accuracies_equal_to_them():
    bounds = {"accuracy_lower_bound": 0.25, "accuracy_upper_bound": 0.75, "inclusive": False}
    assert [num_kept(n, 4, **bounds) for n in range(5)] == [0, 0, 4, 0, 0]
    assert num_kept(1, 5, inclusive=False) == 0


def test_a_response_without_verdict_leaves_and_does_not_count():
    outcome = torch.tensor([1.0, 0.0, NAN, NAN])
    kept = accuracy_filter(outcome, torch.zeros(4).long(), 0.5, 0.5)
    assert kept.tolist() == [True, True, False, False]


def test_groups_with_fewer_than_two_verdicts_leave():
    outcome = torch.tensor([1.0, NAN, NAN, NAN])
    group = torch.tensor([1, 1, 2, 2])
    assert not accuracy_filter(outcome, group, 0.0, 1.0).any()


def test_a_truncated_response_takes_its_group_along():
    group = torch.tensor([4, 2, 4, 2])
    truncated = torch.tensor([True, False, False, False])
    assert truncation_filter(truncated, group).tolist() == [False, True, False, True]


@given(seed=seeds)
def test_the_filter_equals_a_loop_over_groups_in_any_order(seed):
    batch = random_batch(seed)
    kept = accuracy_filter(batch.outcome, batch.group)
    for group in batch.group.unique():
        rows = batch.group == group
        correct, size = int(batch.outcome[rows].sum()), int(rows.sum())
        assert kept[rows].tolist() == [size <= 5 * correct <= 4 * size] * size


@pytest.mark.parametrize(
    "name", [*reference_names("orig_filter_"), *reference_names("recipe_filter_")]
)
def test_kept_rows_match_the_published_filters(name):
    agree(check(name), tolerance=0.0)
