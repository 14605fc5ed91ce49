"""Credit of steps: PURE's, iStar's and GiGPO's, beside slow loops and published values."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prime_core.masked import discounted_returns
from prime_core.step_credit import (
    STEP_ESTIMATORS,
    centred_steps,
    gigpo_steps,
    lowest_from,
    penalised_ends,
    reward_ends,
    same_state_advantage,
    weighted_to_lowest,
)
from prime_core.turns import at_turns, turn_ends, turn_sums
from tests.support.batches import Batch, padded, random_batch, seeds
from tests.support.comparison import agree
from tests.support.reference_advantages import advantages
from tests.support.reference_checks import check
from tests.support.shared_data import reference_names
from tests.support.turns import turned

NAN = float("nan")
PAIR = torch.tensor([5, 5])
TURNS = torch.tensor([[1, 1, 0, 1, 0, 1], [1, 0, 1, 1, 0, 0]]).bool()  # three turns, two


def test_the_lowest_step_from_here_on_is_the_credit_of_min():
    rewards = torch.tensor([[0.0, 3.0, 0.0, 1.0, 2.0]])
    ends, one = (torch.tensor([x]).bool() for x in ([0, 1, 0, 1, 1], [0, 1, 0, 0, 0]))
    assert lowest_from(rewards, ends).tolist() == [[1.0, 1.0, 1.0, 1.0, 2.0]]
    assert lowest_from(rewards, one).tolist() == [[3, 3, 0, 0, 0]]


def test_the_weighted_sum_tends_to_the_lowest_step():
    rewards, ends = torch.tensor([[0.0, 3.0, 0.0, -1.0]]), torch.tensor([[0, 1, 0, 1]]).bool()
    weighted = weighted_to_lowest(rewards, ends, 0.1)
    assert weighted[0, [0, 2]].tolist() == [0, 0]
    assert weighted.sum().item() == pytest.approx(-1, abs=1e-6)


def test_a_step_ends_with_its_turn_and_never_in_an_observation():
    marks = torch.tensor([[1, 0, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0]]).bool()
    assert reward_ends(TURNS, marks).int().tolist() == [[1, 1, 0, 1, 0, 1], [1, 0, 1, 1, 0, 0]]
    assert reward_ends(TURNS, None) is TURNS
    nothing = torch.zeros_like(TURNS)
    assert torch.equal(reward_ends(TURNS, nothing), turn_ends(TURNS))


def test_a_turns_reward_is_compared_with_all_turns_of_its_group():
    rewards = at_turns(torch.tensor([[1.0, 2.0, 6.0], [0.0, 1.0, 0.0]]), TURNS) * turn_ends(TURNS)
    ends = turn_ends(TURNS)
    ours = centred_steps(rewards, TURNS, ends, PAIR, "dr_grpo", "group")  # five turns of mean 2
    assert ours.tolist() == [[-1, -1, 0, 0, 0, 4], [-2, 0, -1, -1, 0, 0]]
    ours = centred_steps(rewards, TURNS, ends, PAIR, "rloo", "group")
    assert ours.tolist() == [[-1.25, -1.25, 0, 0, 0, 5], [-2.5, 0, -1.25, -1.25, 0, 0]]
    ours = centred_steps(rewards, TURNS, ends, PAIR, "dr_grpo", "first_turn")  # 1 and 0
    assert ours.tolist() == [[0.5, 0.5, 0, 1.5, 0, 5.5], [-0.5, 0, 0.5, 0.5, 0, 0]]


def slow_centred(batch: Batch, adv_estimator: str, centre: str) -> torch.Tensor:
    """Turn by turn from the equation."""
    sums = turn_sums(batch.reward, batch.mask).double()
    numbers = turn_ends(batch.mask).sum(1).tolist()
    found = torch.zeros(sums.shape, dtype=torch.double)
    for i in range(len(sums)):
        same = [j for j in range(len(sums)) if batch.group[j] == batch.group[i]]
        counted = [
            sums[j, k].item() for j in same for k in range(numbers[j] if centre == "group" else 1)
        ]
        mean, n = sum(counted) / len(counted), len(counted)
        for k in range(numbers[i]):
            found[i, k] = sums[i, k] - mean
            if adv_estimator == "rloo":
                found[i, k] *= n / (n - 1)
            if adv_estimator == "grpo":
                variance = sum((one - mean) ** 2 for one in counted) / (n - 1)
                found[i, k] /= variance**0.5 + 1e-6
    return at_turns(found, batch.mask)


@given(
    seed=seeds,
    name=st.sampled_from(STEP_ESTIMATORS),
    centre=st.sampled_from(["group", "first_turn"]),
)
def test_centred_steps_equal_a_slow_loop_over_turns(seed, name, centre):
    batch = turned(random_batch(seed), seed)
    ends = turn_ends(batch.mask)
    rewards = at_turns(turn_sums(batch.reward.double(), batch.mask), batch.mask)
    ours = centred_steps(rewards, batch.mask, ends, batch.group, name, centre)
    torch.testing.assert_close(ours, slow_centred(batch, name, centre), rtol=1e-6, atol=1e-6)


def istar(batch: Batch, **settings: Any) -> torch.Tensor:
    """iStar's advantages of a batch whose rewards stand at the last tokens of turns."""
    choices: dict[str, Any] = {"combine": "advantages", "process_centre": "group", "whiten": False}
    choices |= {"step_ends": torch.zeros_like(batch.mask)} | settings
    sums = at_turns(turn_sums(batch.reward, batch.mask), batch.mask)
    return advantages(batch.outcome, sums, batch.mask, batch.group, **choices)[0]


@given(seed=seeds, name=st.sampled_from(STEP_ESTIMATORS), width=st.integers(1, 9))
def test_padding_and_the_order_of_responses_change_nothing(seed, name, width):
    batch = turned(random_batch(seed), seed)
    ours = istar(batch, adv_estimator=name)
    wider = Batch(
        batch.outcome,
        padded(batch.reward, width, float("inf")),
        padded(batch.mask, width, False),
        batch.group,
    )
    torch.testing.assert_close(istar(wider, adv_estimator=name), padded(ours, width, 0.0))
    order = torch.randperm(len(batch.group), generator=torch.Generator().manual_seed(seed))
    shuffled = istar(batch.rows(order), adv_estimator=name)
    torch.testing.assert_close(shuffled, ours[order])


def test_both_parts_are_whitened_by_themselves_with_reinforce_pp_baseline():
    batch = turned(random_batch(3), 3)
    parts = [
        istar(batch, adv_estimator="reinforce_pp_baseline", outcome_coef=a, process_coef=b)
        for a, b in ((1.0, 0.0), (0.0, 1.0), (1.0, 0.5))
    ]
    for part in parts[:2]:
        assert part[batch.mask].std().item() == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(parts[2], parts[0] + 0.5 * parts[1])


def test_an_invalid_action_costs_its_turn_alone():
    batch = Batch(
        torch.tensor([1.0, 0.0]),
        torch.tensor([[0.0, 1.0, NAN, 2.0, NAN, 6.0], [0.0, NAN, 0.0, 1.0, NAN, NAN]]),
        TURNS,
        PAIR,
    )
    penalty = at_turns(torch.tensor([[0.0, 0.1, 0.0], [0.0, 0.0, 0.0]]), TURNS)
    plain, ours = istar(batch), istar(batch, invalid=penalty)
    # Of 1.0 the outcome's mean over tokens loses 0.1 / 4; the five turns' mean loses 0.02.
    share, step = 0.1 / 4, 0.1 * 1.25
    expected = torch.tensor([[0.0, 0.0, 0.0], [share, share, 0.0]])
    expected[0, 1] -= 0.1 + step
    expected += torch.tensor([0.1 / 4])  # leave-one-out over five turns: the others' mean
    torch.testing.assert_close(ours - plain, at_turns(expected, TURNS))
    ends = penalised_ends(torch.zeros(2, 6), TURNS, penalty)
    assert ends.tolist() == [[0, 0, 0, pytest.approx(-0.1), 0, 0], [0.0] * 6]


def slow_gigpo(returns, states, group, norm):
    """Turn by turn from the equation."""
    found = torch.zeros(returns.shape, dtype=torch.double)
    for i in range(len(states)):
        for k in range(states.shape[1]):
            if states[i, k] < 0:
                continue
            same = [
                returns[j, m].item()
                for j in range(len(states))
                for m in range(states.shape[1])
                if group[j] == group[i] and states[j, m] == states[i, k]
            ]
            mean = sum(same) / len(same)
            found[i, k] = returns[i, k] - mean
            if norm == "mean_std":
                others = max(len(same) - 1, 1)
                found[i, k] /= (sum((one - mean) ** 2 for one in same) / others) ** 0.5 + 1e-6
    return found


@given(seed=seeds, norm=st.sampled_from(["mean", "mean_std"]), gamma=st.sampled_from([1.0, 0.95]))
def test_equal_states_of_a_group_are_compared_as_in_a_slow_loop(seed, norm, gamma):
    batch = turned(random_batch(seed), seed)
    generator = torch.Generator().manual_seed(seed)
    numbers = turn_ends(batch.mask).sum(1)
    shape = (len(numbers), int(numbers.max()))
    is_turn = torch.arange(shape[1]) < numbers[:, None]
    states = torch.randint(0, 3, shape, generator=generator).masked_fill(~is_turn, -1)
    rewards = torch.randn(shape, generator=generator, dtype=torch.double) * is_turn
    returns = torch.zeros(shape, dtype=torch.double)
    for k in reversed(range(shape[1])):
        returns[:, k] = rewards[:, k] + (gamma * returns[:, k + 1] if k + 1 < shape[1] else 0)
    torch.testing.assert_close(discounted_returns(rewards, gamma), returns)
    expected = at_turns(slow_gigpo(returns, states, batch.group, norm), batch.mask)
    ours = gigpo_steps(rewards, states, batch.mask, batch.group, gamma, norm)
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)
    order = torch.randperm(len(numbers), generator=generator)
    shuffled = same_state_advantage(returns[order], states[order], batch.group[order], norm)
    torch.testing.assert_close(
        shuffled, same_state_advantage(returns, states, batch.group, norm)[order]
    )


def test_a_turn_alone_in_its_state_has_no_advantage_and_a_penalty_stays_with_its_turn():
    states = torch.tensor([[0, 1, 2], [0, 1, -1]])
    rewards, penalty = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]), torch.zeros(2, 3)
    ours = gigpo_steps(rewards, states, TURNS, PAIR, 0.5, "mean")
    assert ours.tolist() == [[0.125, 0.125, 0, 0.25, 0, 0], [-0.125, 0, -0.25, -0.25, 0, 0]]
    penalty[0, 1] = 0.5
    ours = gigpo_steps(rewards, states, TURNS, PAIR, 0.5, "mean", penalty)
    assert ours.tolist() == [[0.125, 0.125, 0, 0, 0, 0], [-0.125, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("name", [*reference_names("istar_adv_"), *reference_names("gigpo_")])
def test_advantages_of_turns_match_the_published_ones(name):
    agree(check(name))


def test_what_cannot_be_compared_is_refused_by_name():
    ends = turn_ends(TURNS)
    rewards = torch.zeros(TURNS.shape)
    for wrong in (("opo", "group"), ("rloo", "none")):
        with pytest.raises(ValueError, match=wrong[0] if wrong[1] == "group" else wrong[1]):
            centred_steps(rewards, TURNS, ends, PAIR, *wrong)
    alone = torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"groups \[0, 1\] have a single step"):
        centred_steps(rewards, TURNS, ends, alone, "rloo", "first_turn")
    with pytest.raises(ValueError, match="median"):
        same_state_advantage(torch.zeros(2, 1), torch.zeros(2, 1).long(), PAIR, "median")
