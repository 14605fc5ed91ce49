"""The value model's loss: numbers for paper, the published ones, properties."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prime_core.value_loss import clipped_value_loss, explained_variance
from tests.support.batches import random_batch, seeds
from tests.support.comparison import agree
from tests.support.reference_checks import check
from tests.support.shared_data import reference_names

ALL = torch.ones(1, 4, dtype=torch.bool)


def one_row(*numbers: float) -> torch.Tensor:
    return torch.tensor([numbers])


def test_a_value_within_the_clip_has_half_its_squared_error():
    losses, clipped = clipped_value_loss(
        one_row(1.0, 2.0), one_row(0.75, 2.25), one_row(3.0, 2.0), ALL[:, :2], cliprange_value=0.5
    )
    assert losses.tolist() == [[2, 0]]
    assert not clipped.any()


def test_a_value_beyond_the_clip_gives_no_gradient_unless_it_went_the_wrong_way():
    values = one_row(2.0, 2.0, -2.0, -2.0).requires_grad_()
    losses, clipped = clipped_value_loss(values, one_row(0, 0, 0, 0), one_row(3, -3, 3, -3), ALL, 1)
    losses.sum().backward()
    # towards the return: (1 - 3)^2 / 2 of the clipped value; away from it: (2 + 3)^2 / 2
    assert losses.tolist() == [[2, 12.5, 12.5, 2]]
    assert clipped.tolist() == [[True, False, False, True]]
    assert values.grad is not None
    assert values.grad.tolist() == [[0, 5, -5, 0]]


def test_values_that_are_the_returns_explain_everything_and_a_constant_nothing():
    returns = one_row(1, 2, 3, 4)
    assert explained_variance(returns, returns, ALL) == 1
    assert explained_variance(one_row(7, 7, 7, 7), returns, ALL) == 0
    assert explained_variance(-returns, returns, ALL) == 1 - 4
    assert explained_variance(returns, one_row(2, 2, 2, 2), ALL) is None


@given(seed=seeds, clip=st.floats(0.01, 2))
def test_the_clip_never_lowers_the_loss_and_what_is_masked_has_none(seed, clip):
    batch = random_batch(seed)
    generator = torch.Generator().manual_seed(seed)
    values, old, returns = torch.randn(3, *batch.mask.shape, generator=generator)
    values[~batch.mask] = float("nan")
    losses, clipped = clipped_value_loss(values, old, returns, batch.mask, clip)
    plain = ((values - returns) ** 2 / 2).masked_fill(~batch.mask, 0.0)
    assert (losses >= plain).all()
    assert ((losses > plain) == clipped).all()
    assert not losses[~batch.mask].any()
    assert not clipped[~batch.mask].any()
    assert ((values - old).abs()[clipped] > 0.99 * clip).all()


def test_the_slow_loop_says_the_same():
    generator = torch.Generator().manual_seed(3)
    values, old, returns = torch.randn(3, 4, 5, generator=generator).tolist()
    mask = torch.ones(4, 5, dtype=torch.bool)
    losses, _ = clipped_value_loss(
        torch.tensor(values), torch.tensor(old), torch.tensor(returns), mask, 0.3
    )
    for i in range(4):
        for t in range(5):
            bounded = min(max(values[i][t], old[i][t] - 0.3), old[i][t] + 0.3)
            errors = [(value - returns[i][t]) ** 2 for value in (values[i][t], bounded)]
            assert losses[i, t].item() == pytest.approx(max(errors) / 2, rel=1e-5)


@pytest.mark.parametrize("name", reference_names("orig_value_"))
def test_losses_and_gradients_match_the_published_ones(name):
    agree(check(name))
