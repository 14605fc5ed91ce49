"""Values of turns by counting visits: numbers for paper, a slow loop, properties."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prime_core.gae import gae
from prime_core.visits import repeated_share, turn_returns, visit_rewards, visit_values
from tests.support.batches import padded, seeds

# Two episodes begin in state 0 and part: one does 7 there, the other 8. -1: no turn.
STATES = torch.tensor([[0, 1], [0, -1], [0, 1]])
ACTIONS = torch.tensor([[7, 3], [8, 0], [7, 4]])
OUTCOME = torch.tensor([1.0, 0.0, 0.0])


def made_up(seed: int) -> tuple[torch.Tensor, ...]:
    """Outcomes, states and actions of ragged episodes in a small world."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randint(0, 4, (9, 5), generator=generator)
    lengths = torch.randint(1, 6, (9, 1), generator=generator)
    states = states.masked_fill(torch.arange(5) >= lengths, -1)
    actions = torch.randint(0, 3, (9, 5), generator=generator)
    return torch.randint(0, 2, (9,), generator=generator).float(), states, actions


def advantages(returns, states, actions, gae_lambda):
    """What the policy is updated with, before whitening."""
    rewards, values = visit_rewards(returns, states, actions)
    return gae(rewards, values, states >= 0, 1.0, gae_lambda)


def test_an_outcome_fades_towards_one_half_over_earlier_turns():
    returns = turn_returns(OUTCOME, STATES, 0.5)
    assert returns.tolist() == [[0.75, 1.0], [0.0, 0.0], [0.25, 0.0]]


def test_q_is_of_what_was_done_and_v_of_the_state():
    q, v = visit_values(turn_returns(OUTCOME, STATES, 1.0), STATES, ACTIONS)
    assert q.tolist() == [[0.5, 1.0], [0.0, 0.0], [0.5, 0.0]]
    assert v.tolist() == [[pytest.approx(1 / 3), 0.5], [pytest.approx(1 / 3), 0], [1 / 3, 0.5]]


def test_how_much_repeats_is_told():
    assert repeated_share(STATES, ACTIONS) == (1.0, pytest.approx(2 / 5))


@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 1.0])
def test_advantages_equal_a_slow_loop(gae_lambda):
    for seed in range(5):
        outcome, states, actions = made_up(seed)
        returns = turn_returns(outcome, states, 0.95)
        ours = advantages(returns, states, actions, gae_lambda)
        places = (states >= 0).nonzero().tolist()
        for row in range(len(states)):
            later = 0.0
            for turn in reversed([place for one, place in places if one == row]):
                here = [(i, k) for i, k in places if states[i, k] == states[row, turn]]
                same = [(i, k) for i, k in here if actions[i, k] == actions[row, turn]]
                q, v = (
                    sum(returns[place].item() for place in some) / len(some)
                    for some in (same, here)
                )
                later = q - v + gae_lambda * later
                assert ours[row, turn].item() == pytest.approx(later, abs=1e-12)


@given(seed=seeds)
def test_what_is_done_in_a_state_has_the_mean_advantage_zero(seed):
    outcome, states, actions = made_up(seed)
    ours = advantages(turn_returns(outcome, states, 0.95), states, actions, 0.0)
    for state in range(4):
        if bool((states == state).any()):
            assert ours[states == state].mean().item() == pytest.approx(0, abs=1e-12)


@given(seed=seeds, width=st.integers(1, 4))
def test_neither_padding_nor_order_changes_anything(seed, width):
    outcome, states, actions = made_up(seed)
    order = torch.randperm(len(states), generator=torch.Generator().manual_seed(seed))
    plain = advantages(turn_returns(outcome, states, 0.95), states, actions, 0.5)
    wide_states = padded(states + 1, width, 0)[order] - 1
    wide_returns = turn_returns(outcome[order], wide_states, 0.95)
    wide = advantages(wide_returns, wide_states, padded(actions, width, 9)[order], 0.5)
    torch.testing.assert_close(padded(plain, width, 0.0)[order], wide)
