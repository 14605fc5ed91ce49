"""Monte-Carlo values of steps: numbers for paper, the published ones, a slow loop, properties."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prime_core.gae import gae, step_gae
from prime_core.step_values import filled, token_values, value_differences
from tests.support.batches import padded, random_batch, seeds
from tests.support.comparison import agree
from tests.support.reference_checks import check
from tests.support.shared_data import reference_names

NAN = float("nan")
# Two responses: steps of two and one tokens; of one, one and one.
MASK = torch.tensor([[True, True, True, False], [True, True, True, True]])
ENDS = torch.tensor([[False, True, False, False], [True, False, True, False]])
OUTCOME = torch.tensor([1.0, 0.0])
# One column a step: V_0, V_1; V_0, V_1, not known.
STEP_VALUES = torch.tensor([[0.5, 0.75, 0.0, 0.0], [0.25, 0.5, NAN, 0.0]])


def made_up(seed: int) -> tuple[torch.Tensor, ...]:
    """Outcomes, mask, step ends and values of steps, some of them unknown, of a random batch."""
    batch = random_batch(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    ends = (torch.rand(batch.mask.shape, generator=generator) < 0.4) & batch.mask
    values = torch.rand(batch.mask.shape, generator=generator)
    unknown = torch.rand(batch.mask.shape, generator=generator) < 0.3
    return batch.outcome, batch.mask, ends, values.masked_fill(unknown, NAN)


def steps_of_row(mask: torch.Tensor, ends: torch.Tensor) -> list[list[int]]:
    """Positions of the tokens of each step of a response, found one after the other."""
    found: list[list[int]] = [[]]
    places = mask.nonzero().flatten().tolist()
    for place in places:
        found[-1].append(place)
        if ends[place] and place != places[-1]:
            found.append([])
    return found


def test_an_unknown_value_is_what_the_rest_of_the_response_came_to():
    rewards = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    known = torch.tensor([[0.5, NAN, NAN], [NAN, 0.25, NAN]])
    assert filled(known, rewards).tolist() == [[0.5, 1, 1], [0.25, 0.25, 0]]


def test_every_token_of_a_step_has_the_value_before_the_step():
    values = token_values(STEP_VALUES, OUTCOME, MASK, ENDS)
    assert values.tolist() == [[0.5, 0.5, 0.75, 0], [0.25, 0.5, 0.5, 0]]


def test_a_step_is_rewarded_with_what_it_changes_at_its_last_token():
    rewards = value_differences(STEP_VALUES, OUTCOME, MASK, ENDS)
    assert rewards.tolist() == [[0, 0.25, 0.25, 0], [0.25, 0, -0.5, 0]]
    assert rewards.sum(1).tolist() == [1 - 0.5, 0 - 0.25]


def test_a_truncated_response_has_no_step_behind_its_last_token():
    """A mask that ends inside a step ends the step."""
    values = token_values(STEP_VALUES, OUTCOME, MASK, torch.zeros_like(MASK))
    assert values.tolist() == [[0.5, 0.5, 0.5, 0], [0.25] * 4]


@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_advantages_of_steps_equal_a_slow_loop_over_the_equation(gamma, gae_lambda):
    for seed in range(5):
        outcome, mask, ends, values = made_up(seed)
        at_tokens = token_values(values.double(), outcome.double(), mask, ends)
        rewards = torch.randn(mask.shape, dtype=torch.double)
        ours, before = step_gae(rewards, at_tokens, mask, ends, gamma, gae_lambda)
        for row in range(len(mask)):
            later = following = 0.0
            for step in reversed(steps_of_row(mask[row], ends[row])):
                own = at_tokens[row, step[0]].item()
                difference = rewards[row, step].sum().item() + gamma * following - own
                later, following = difference + gamma * gae_lambda * later, own
                torch.testing.assert_close(ours[row, step], torch.full([len(step)], later).double())
                assert before[row, step].unique().tolist() == [own]
        assert not ours[~mask].any()


@given(seed=seeds)
def test_with_lambda_one_a_step_has_the_outcome_less_its_value(seed):
    outcome, mask, ends, values = made_up(seed)
    at_tokens = token_values(values, outcome, mask, ends)
    rewards = torch.zeros(mask.shape)
    for row in range(len(mask)):
        rewards[row, mask[row].nonzero().flatten()[-1]] = outcome[row]
    ours, _ = step_gae(rewards, at_tokens, mask, ends, 1.0, 1.0)
    expected = (outcome[:, None] - at_tokens).masked_fill(~mask, 0.0)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)


@given(seed=seeds)
def test_with_lambda_zero_a_step_has_its_process_reward(seed):
    outcome, mask, ends, values = made_up(seed)
    at_tokens = token_values(values, outcome, mask, ends)
    rewards = torch.zeros(mask.shape)
    for row in range(len(mask)):
        rewards[row, mask[row].nonzero().flatten()[-1]] = outcome[row]
    ours, _ = step_gae(rewards, at_tokens, mask, ends, 1.0, 0.0)
    differences = value_differences(values, outcome, mask, ends)
    for row in range(len(mask)):
        for step in steps_of_row(mask[row], ends[row]):
            assert ours[row, step].unique().tolist() == [differences[row, step[-1]].item()]
            assert not differences[row, step[:-1]].any()


@given(seed=seeds)
def test_process_rewards_add_up_to_the_outcome_less_the_prompts_value(seed):
    outcome, mask, ends, values = made_up(seed)
    rewards = value_differences(values, outcome, mask, ends)
    first = token_values(values, outcome, mask, ends)[torch.arange(len(mask)), mask.int().argmax(1)]
    torch.testing.assert_close(rewards.sum(1), outcome - first, atol=1e-6, rtol=0)


@given(seed=seeds)
def test_where_each_token_is_a_step_both_levels_agree(seed):
    batch = random_batch(seed)
    values = torch.randn(batch.mask.shape, generator=torch.Generator().manual_seed(seed))
    by_steps, _ = step_gae(batch.reward, values, batch.mask, batch.mask, 0.9, 0.5)
    by_tokens = gae(batch.reward, values, batch.mask, 0.9, 0.5)
    torch.testing.assert_close(by_steps, by_tokens)


@given(seed=seeds, width=st.integers(1, 9))
def test_neither_padding_nor_order_changes_anything(seed, width):
    outcome, mask, ends, values = made_up(seed)
    order = torch.randperm(len(mask), generator=torch.Generator().manual_seed(seed))
    plain = value_differences(values, outcome, mask, ends)
    wide = value_differences(
        padded(values, width, 0.0)[order],
        outcome[order],
        padded(mask, width, False)[order],
        padded(ends, width, True)[order],
    )
    assert torch.equal(padded(plain, width, 0.0)[order], wide)


@pytest.mark.parametrize("name", reference_names("vineppo_"))
def test_advantages_match_the_published_ones(name):
    agree(check(name))
