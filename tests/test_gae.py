"""PPO's advantages: numbers for paper, the published ones, a slow loop, properties."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prime_core.gae import gae, gae_advantages, prefix_values, token_rewards
from prime_core.turns import turn_index
from tests.support.batches import Batch, padded, random_batch, seeds
from tests.support.comparison import agree
from tests.support.reference_checks import check
from tests.support.shared_data import reference_names
from tests.support.turns import places, spread, turned

MASK = torch.tensor([[True, True, True], [True, True, False]])
OUTCOME = torch.tensor([1.0, 0.0])
NAN = float("nan")
REWARDS = torch.tensor([[1.0, 2.0, 4.0], [-1.0, 1.0, NAN]])
VALUES = torch.tensor([[0.5, 0.25, 2.0], [4.0, -2.0, NAN]])


def advantages(outcome=OUTCOME, reward=None, values=VALUES, mask=MASK, **settings):
    choices: dict[str, Any] = {
        "gamma": 1.0,
        "gae_lambda": 1.0,
        "outcome_coef": 1.0,
        "process_coef": 1.0,
        "combine": "returns",
        "whiten": False,
    }
    return gae_advantages(
        outcome=outcome, implicit_reward=reward, values=values, mask=mask, **(choices | settings)
    )


def values_for(batch: Batch, seed: int) -> torch.Tensor:
    """Random values, NaN behind the responses' ends."""
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randn(batch.mask.shape, generator=generator).masked_fill(~batch.mask, NAN)


def test_with_lambda_one_an_advantage_is_the_return_less_the_value():
    ours, returns = advantages()
    assert ours.tolist() == [[0.5, 0.75, -1.0], [-4.0, 2.0, 0.0]]
    assert returns.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_with_lambda_zero_an_advantage_is_the_difference_of_one_token():
    ours = gae(REWARDS, VALUES, MASK, gamma=0.5, gae_lambda=0.0)
    assert ours.tolist() == [
        [1 + 0.125 - 0.5, 2 + 1 - 0.25, 4 - 2.0],
        [-1 - 1 - 4.0, 1 + 2.0, 0],
    ]


def test_the_outcome_comes_with_the_last_token_and_implicit_rewards_with_every_one():
    rewards = token_rewards(OUTCOME, REWARDS, MASK, outcome_coef=10, process_coef=2)
    assert rewards.tolist() == [[2, 4, 18], [-2, 2, 0]]


def test_values_learn_the_sum_of_both_rewards():
    _, returns = advantages(reward=REWARDS, outcome_coef=10, process_coef=2)
    assert returns.tolist() == [[24, 22, 18], [0, 2, 0]]


def test_additive_advantages_take_the_tokens_own_reward_and_values_know_of_outcomes_alone():
    plain, learnt = advantages()
    ours, returns = advantages(reward=REWARDS, combine="advantages", process_coef=2)
    assert (ours - plain).tolist() == [[2, 4, 8], [-2, 2, 0]]
    assert torch.equal(returns, learnt)


def test_whitening_changes_advantages_and_not_what_values_learn():
    plain, learnt = advantages()
    ours, returns = advantages(whiten=True)
    assert torch.equal(returns, learnt)
    assert ours[MASK].mean().item() == pytest.approx(0, abs=1e-6)
    assert ours[MASK].std().item() == pytest.approx(1, abs=1e-6)
    assert (ours[MASK].argsort() == plain[MASK].argsort()).all()


def test_the_prms_value_is_its_log_odds_of_what_stands_before_the_token():
    assert prefix_values(REWARDS, MASK, "log_odds").tolist() == [[0, 1, 3], [0, -1, 0]]
    odds = torch.tensor([[0.0, 1.0, 3.0], [0.0, -1.0, 0.0]])
    probability = prefix_values(REWARDS, MASK, "probability")
    torch.testing.assert_close(probability, odds.sigmoid() * MASK)


def test_the_last_tokens_implicit_reward_is_in_no_value():
    other = REWARDS.clone()
    other[0, 2], other[1, 1] = 77.0, -77.0
    for kind in ("log_odds", "probability"):
        assert torch.equal(prefix_values(other, MASK, kind), prefix_values(REWARDS, MASK, kind))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"combine": "both"}, "both"),
        ({"outcome": torch.tensor([1.0, NAN])}, r"responses \[1\] have no verdict"),
    ],
)
def test_a_wrong_choice_and_a_response_without_verdict_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        advantages(**wrong)


def test_another_kind_of_value_is_refused_by_name():
    with pytest.raises(ValueError, match="logits"):
        prefix_values(REWARDS, MASK, "logits")


def slow_gae(rewards, values, mask, gamma, gae_lambda):
    """The recursion of the paper, backwards, one token at a time."""
    ours = torch.zeros(mask.shape, dtype=torch.double)
    for i, length in enumerate(mask.sum(1).tolist()):
        later = following = 0.0
        for t in reversed(range(length)):
            difference = rewards[i, t].item() + gamma * following - values[i, t].item()
            later = difference + gamma * gae_lambda * later
            following = values[i, t].item()
            ours[i, t] = later
    return ours


@pytest.mark.parametrize(("gamma", "gae_lambda"), [(1, 1), (0.99, 0.95), (0.9, 0.0), (0.0, 1.0)])
def test_advantages_equal_a_slow_loop_over_the_equation(gamma, gae_lambda):
    for seed in range(5):
        batch = random_batch(seed)
        values = values_for(batch, seed)
        ours, returns = advantages(
            batch.outcome, batch.reward, values, batch.mask, gamma=gamma, gae_lambda=gae_lambda
        )
        rewards = token_rewards(batch.outcome, batch.reward, batch.mask, 1, 1)
        expected = slow_gae(rewards, values, batch.mask, gamma, gae_lambda)
        torch.testing.assert_close(ours, expected.float())
        learnt = expected + values.masked_fill(~batch.mask, 0.0)
        torch.testing.assert_close(returns, learnt.float())


@given(seed=seeds, width=st.integers(1, 9), gae_lambda=st.floats(0, 1))
def test_what_stands_behind_the_end_changes_nothing(seed, width, gae_lambda):
    batch = random_batch(seed)
    values = values_for(batch, seed)
    narrow = advantages(batch.outcome, batch.reward, values, batch.mask, gae_lambda=gae_lambda)
    wide = advantages(
        batch.outcome,
        padded(batch.reward, width, float("inf")),
        padded(values, width, -77.0),
        padded(batch.mask, width, False),
        gae_lambda=gae_lambda,
    )
    for one, other in zip(narrow, wide, strict=True):
        torch.testing.assert_close(padded(one, width, 0.0), other)


@given(seed=seeds, gamma=st.floats(0, 1), gae_lambda=st.floats(0, 1))
def test_right_values_leave_no_advantage(seed, gamma, gae_lambda):
    batch = random_batch(seed)
    nothing = torch.zeros(batch.mask.shape)
    _, right = advantages(batch.outcome, batch.reward, nothing, batch.mask, gamma=gamma)
    ours, returns = advantages(
        batch.outcome, batch.reward, right, batch.mask, gamma=gamma, gae_lambda=gae_lambda
    )
    torch.testing.assert_close(ours, nothing, rtol=0, atol=1e-5)
    torch.testing.assert_close(returns, right, rtol=1e-4, atol=1e-5)


@given(seed=seeds)
def test_implicit_rewards_as_values_and_as_rewards_shape_each_other_away(seed):
    """Potential-based shaping: the PRM's rewards are differences of its own values."""
    batch = random_batch(seed)
    values = prefix_values(batch.reward, batch.mask, "log_odds")
    ours, _ = advantages(batch.outcome, batch.reward, values, batch.mask)
    total = batch.reward.masked_fill(~batch.mask, 0.0).sum(1, keepdim=True)
    expected = (batch.outcome[:, None] + total - 2 * values).masked_fill(~batch.mask, 0.0)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", reference_names("orig_gae_"))
def test_advantages_match_the_published_ones_and_nothing_leaks_in(name):
    agree(check(name))


def test_credit_passes_an_observation_undiminished():
    """Six tokens, four of them the environment's: their values are not states of the policy."""
    mask = torch.tensor([[True, False, False, False, False, True]])
    rewards = torch.tensor([[0.0, NAN, NAN, NAN, NAN, 1.0]])
    values = torch.tensor([[0.1, NAN, NAN, NAN, NAN, 0.8]])
    ours = gae(rewards, values, mask, gamma=1.0, gae_lambda=0.5)
    # 0.8 - 0.1 + 0.5 (1 - 0.8); with values of 0 in between it would be -0.044.
    assert ours[0].tolist() == pytest.approx([0.8, 0, 0, 0, 0, 0.2])


def slow_turn_gae(rewards, values, mask, gamma, gae_lambda):
    """The recursion backwards; both discounts where a turn has ended."""
    ours, turn = torch.zeros(mask.shape, dtype=torch.double), turn_index(mask)
    for i in range(len(mask)):
        later = following = 0.0
        next_turn = -1
        for t in reversed(mask[i].nonzero().flatten().tolist()):
            passed = float(int(turn[i, t]) != next_turn)
            difference = rewards[i, t].item() + gamma**passed * following - values[i, t].item()
            later = difference + (gamma * gae_lambda) ** passed * later
            following, next_turn = values[i, t].item(), int(turn[i, t])
            ours[i, t] = later
    return ours


@pytest.mark.parametrize(("gamma", "gae_lambda"), [(1, 1), (0.99, 0.95), (0.9, 0.0), (0.0, 1.0)])
def test_observations_between_tokens_change_no_advantage(gamma, gae_lambda):
    for seed in range(5):
        batch = random_batch(seed)
        values, where, wide = values_for(batch, seed), places(batch, seed), turned(batch, seed)
        how = {"gamma": gamma, "gae_lambda": gae_lambda}
        narrow = advantages(batch.outcome, batch.reward, values, batch.mask, **how)
        spread_values = spread(values, where, -77.0)
        found = advantages(wide.outcome, wide.reward, spread_values, wide.mask, **how)
        for one, other in zip(narrow, found, strict=True):
            torch.testing.assert_close(spread(one, where, 0.0), other)
        by_turns, _ = advantages(
            wide.outcome, wide.reward, spread_values, wide.mask, discount_unit="turn", **how
        )
        rewards = token_rewards(wide.outcome, wide.reward, wide.mask, 1, 1)
        expected = slow_turn_gae(rewards, spread_values, wide.mask, gamma, gae_lambda)
        torch.testing.assert_close(by_turns, expected.float())
