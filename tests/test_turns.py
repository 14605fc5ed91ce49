"""Turns are runs of sampled tokens, and observations take no time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prime_core.masked import discounted_returns, only
from prime_core.turns import at_turns, discounted_over, turn_ends, turn_index, turn_sums
from tests.support.batches import random_batch, seeds
from tests.support.turns import places, spread, turned

MASK = torch.tensor(
    [
        [True, True, False, True, False, True, False],  # three turns
        [True, True, True, True, False, False, False],  # one, then padding
        [False, False, False, False, False, False, False],
        [False, True, True, True, True, True, True],
    ]
)


def test_a_turn_is_a_run_of_sampled_tokens():
    assert turn_index(MASK).tolist() == [
        [0, 0, -1, 1, -1, 2, -1],
        [0, 0, 0, 0, -1, -1, -1],
        [-1] * 7,
        [-1, 0, 0, 0, 0, 0, 0],
    ]
    assert turn_ends(MASK).nonzero().tolist() == [[0, 1], [0, 3], [0, 5], [1, 3], [3, 6]]


def test_sums_of_turns_are_put_back_at_all_their_tokens():
    values = torch.tensor([[1.0, 2.0, 9.0, 4.0, 9.0, 8.0, 9.0]]).expand(MASK.shape)
    sums = turn_sums(values, MASK)
    assert sums.tolist() == [[3, 4, 8], [16, 0, 0], [0, 0, 0], [41, 0, 0]]
    assert at_turns(sums, MASK)[:2].tolist() == [[3, 3, 0, 4, 0, 8, 0], [16, 16, 16, 16, 0, 0, 0]]


def test_a_return_passes_an_observation_and_is_not_reset_by_it():
    """As in verl's issue 6376, where a False token set the sum to 0."""
    rewards = torch.tensor([[0.0, 0.0, float("nan"), 0.0, float("nan"), 1.0, 5.0]])
    ours = {
        unit: discounted_over(rewards, MASK[:1], 0.5, unit)[0].tolist()
        for unit in ("token", "turn")
    }
    assert ours == {"token": [0.125, 0.25, 0, 0.5, 0, 1, 0], "turn": [0.25, 0.25, 0, 0.5, 0, 1, 0]}
    assert discounted_over(rewards, MASK[:1], 1.0, "token")[0].tolist() == [1, 1, 0, 1, 0, 1, 0]


@given(seed=seeds, gamma=st.sampled_from([0.0, 0.3, 0.95, 1.0]))
def test_observations_put_between_tokens_change_no_discounted_sum(seed, gamma):
    batch = random_batch(seed)
    where, wide = places(batch, seed), turned(batch, seed)
    ours = discounted_over(batch.reward, batch.mask, gamma, "token")
    torch.testing.assert_close(
        discounted_over(wide.reward, wide.mask, gamma, "token"), spread(ours, where, 0.0)
    )
    # Without observations it is the sum that it always was, to the last bit.
    assert torch.equal(
        ours, only(discounted_returns(only(batch.reward, batch.mask), gamma), batch.mask)
    )


@given(seed=seeds, gamma=st.sampled_from([0.0, 0.3, 0.95, 1.0]))
def test_a_discount_by_turns_equals_a_slow_loop(seed, gamma):
    batch = turned(random_batch(seed), seed)
    ours = discounted_over(batch.reward.double(), batch.mask, gamma, "turn")
    turn = turn_index(batch.mask)
    for i, t in batch.mask.nonzero().tolist():
        later = [s for s in range(t, batch.mask.shape[1]) if batch.mask[i, s]]
        expected = sum(
            gamma ** (turn[i, s] - turn[i, t]).item() * batch.reward[i, s].item() for s in later
        )
        assert ours[i, t].item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_another_unit_is_refused():
    with pytest.raises(ValueError, match="'second'"):
        discounted_over(torch.zeros(4, 7), MASK, 0.9, "second")
