import pytest
import torch
from hypothesis import given

from prime_core.groups import group_mean, group_size, group_std, group_sum, pairs_within
from tests.support.batches import random_batch, seeds

GROUP = torch.tensor([7, 3, 7, 7, 3])
VALUES = torch.tensor([1.0, 10.0, 2.0, 6.0, 14.0])


def test_every_response_holds_its_groups_number():
    assert group_sum(VALUES, GROUP).tolist() == [9, 24, 9, 9, 24]
    assert group_mean(VALUES, GROUP).tolist() == [3, 12, 3, 3, 12]
    assert group_size(GROUP).tolist() == [3, 2, 3, 3, 2]
    torch.testing.assert_close(group_std(VALUES, GROUP)[:2], torch.tensor([7.0, 8.0]).sqrt())


def test_a_group_of_one_has_no_spread():
    with pytest.raises(ValueError, match=r"groups \[3\] have a single response"):
        group_std(torch.ones(3), torch.tensor([1, 3, 1]))


@given(seed=seeds)
def test_pairs_are_all_ordered_pairs_of_one_group(seed):
    group = random_batch(seed).group
    left, right = pairs_within(group)
    expected = {
        (i, j) for i in range(len(group)) for j in range(len(group)) if group[i] == group[j]
    }
    assert len(left) == len(expected)
    assert set(zip(left.tolist(), right.tolist(), strict=True)) == expected
