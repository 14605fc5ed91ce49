from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prime_core.implicit_reward import (
    batch_norm,
    implicit_reward,
    log_odds,
    per_step,
    response_score,
    shaped_reward,
    without_eos_reward,
)
from tests.support.batches import Batch, padded, random_batch, seeds
from tests.support.comparison import agree
from tests.support.reference_checks import check
from tests.support.shared_data import reference_names

NAN = float("nan")
REWARD = torch.tensor([[1.0, 2.0, 4.0, 8.0, NAN], [3.0, NAN, NAN, NAN, NAN]])
MASK = torch.tensor([[True, True, True, True, False], [True, False, False, False, False]])
STEPS = torch.tensor([[False, True, False, False, True], [False, False, True, False, False]])
LOGPROBS = torch.tensor([[-1.0, -2.0, NAN]])
REFERENCE = torch.tensor([[-3.0, -1.0, NAN]])


def shaped(reward, mask, **settings):
    choices: dict[str, Any] = {
        "granularity": "token",
        "prime_norm": "none",
        "eos_reward": True,
        "step_ends": None,
    }
    return shaped_reward(reward, mask, **(choices | settings))


def test_the_reward_is_beta_times_the_log_ratio_and_zero_after_the_end():
    reward = implicit_reward(LOGPROBS, REFERENCE, torch.tensor([[True, True, False]]), beta=0.05)
    torch.testing.assert_close(reward, torch.tensor([[0.1, -0.05, 0.0]]))


def test_log_odds_are_the_sum_of_the_rewards():
    assert log_odds(REWARD, MASK).tolist() == [15, 3]


def test_logprobs_in_bfloat16_are_subtracted_in_float32():
    mask = torch.ones(1, 1, dtype=torch.bool)
    prm, ref = (torch.tensor([[value]], dtype=torch.bfloat16) for value in (-256.0, -1.0))
    reward = implicit_reward(prm, ref, mask, beta=1.0)
    assert reward.dtype == torch.float32
    assert reward.item() == -255


def test_token_granularity_keeps_every_tokens_reward():
    assert shaped(REWARD, MASK).tolist() == [[1, 2, 4, 8, 0], [3, 0, 0, 0, 0]]


def test_step_granularity_puts_sums_at_the_last_tokens_of_steps():
    placed = shaped(REWARD, MASK, granularity="step", step_ends=STEPS)
    assert placed.tolist() == [[0, 3, 0, 12, 0], [3, 0, 0, 0, 0]]


def test_whole_granularity_puts_the_sum_at_the_last_token():
    placed = shaped(REWARD, MASK, granularity="whole")
    assert placed.tolist() == [[0, 0, 0, 15, 0], [3, 0, 0, 0, 0]]


def test_without_eos_reward_the_last_tokens_own_reward_is_gone_before_sums_are_taken():
    assert without_eos_reward(REWARD, MASK).tolist() == [[1, 2, 4, 0, 0], [0, 0, 0, 0, 0]]
    placed = shaped(REWARD, MASK, granularity="whole", eos_reward=False)
    assert placed.tolist() == [[0, 0, 0, 7, 0], [0, 0, 0, 0, 0]]


def test_batch_norm_divides_by_the_largest_return_of_any_response():
    torch.testing.assert_close(batch_norm(REWARD, MASK), shaped(REWARD, MASK) / (15 + 1e-6))
    signed = torch.tensor([[1.0, -3.0], [2.0, 0.5]])
    mask = torch.ones(2, 2, dtype=torch.bool)
    torch.testing.assert_close(batch_norm(signed, mask), signed / (3 + 1e-6))


def test_rewards_of_zero_stay_zero_under_batch_norm():
    mask = torch.ones(1, 2, dtype=torch.bool)
    assert batch_norm(torch.zeros(1, 2), mask).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"granularity": "word"}, "'word'"),
        ({"granularity": "step"}, "needs step_ends"),
        ({"prime_norm": "layer"}, "'layer'"),
    ],
)
def test_an_unknown_choice_is_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        shaped(REWARD, MASK, **settings)


def slow_steps(batch: Batch, step_ends: torch.Tensor) -> torch.Tensor:
    """Sums over steps, one token at a time."""
    placed = torch.zeros(batch.mask.shape)
    for i, length in enumerate(batch.mask.sum(1).tolist()):
        total = 0.0
        for t in range(length):
            total += batch.reward[i, t].item()
            if step_ends[i, t] or t == length - 1:
                placed[i, t] = total
                total = 0.0
    return placed


@given(seed=seeds)
def test_step_rewards_equal_a_slow_loop_and_keep_the_log_odds(seed):
    batch = random_batch(seed)
    generator = torch.Generator().manual_seed(seed)
    step_ends = torch.rand(batch.mask.shape, generator=generator) < 0.3
    placed = per_step(batch.reward, batch.mask, step_ends)
    torch.testing.assert_close(placed, slow_steps(batch, step_ends))
    torch.testing.assert_close(
        log_odds(placed, batch.mask), log_odds(batch.reward, batch.mask), rtol=1e-4, atol=1e-5
    )


@given(
    seed=seeds,
    width=st.integers(1, 9),
    granularity=st.sampled_from(["token", "whole"]),
    eos_reward=st.booleans(),
)
def test_padding_changes_nothing(seed, width, granularity, eos_reward):
    batch = random_batch(seed)
    settings = {"granularity": granularity, "prime_norm": "batch_norm", "eos_reward": eos_reward}
    narrow = shaped(batch.reward, batch.mask, **settings)
    wide = shaped(padded(batch.reward, width, NAN), padded(batch.mask, width, False), **settings)
    torch.testing.assert_close(padded(narrow, width, 0.0), wide)


@given(seed=seeds, scale=st.floats(0.5, 100))
def test_batch_norm_does_not_see_the_scale_of_the_rewards(seed, scale):
    batch = random_batch(seed)
    plain, scaled = (batch_norm(batch.reward * s, batch.mask) for s in (1.0, scale))
    torch.testing.assert_close(scaled, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", [*reference_names("orig_implicit_"), *reference_names("recipe_forward_")]
)
def test_rewards_match_the_published_ones(name):
    agree(check(name))


def test_value_std_divides_by_the_spread_of_prefix_sums():
    rewards, mask = torch.tensor([[1.0, 1.0], [-2.0, 9.0]]), torch.tensor([[1, 1], [1, 0]]).bool()
    spread = torch.tensor([1.0, 2.0, -2.0]).std()
    ours = shaped(rewards, mask, prime_norm="value_std")
    expected = torch.tensor([[1.0, 1.0], [-2.0, 0.0]]) / spread
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=0)


def test_a_mean_score_does_not_grow_with_length():
    rewards, mask = torch.ones(2, 4), torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]]).bool()
    assert response_score(rewards, mask, "mean").tolist() == [1, 1]
    assert response_score(rewards, mask, "sum").tolist() == [4, 1]
