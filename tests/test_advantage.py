from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from prime_core.advantage import (
    ADV_ESTIMATORS,
    TOKEN_WISE,
    leave_one_out,
    process_returns,
    rloo,
)
from prime_core.masked import discounted_returns
from prime_core.trees import TREE_ESTIMATORS
from tests.support.batches import Batch, padded, random_batch, seeds
from tests.support.comparison import agree
from tests.support.reference_advantages import advantages
from tests.support.reference_checks import check
from tests.support.shared_data import reference_names

ALL = torch.ones(2, 2, dtype=torch.bool)
PAIR = torch.tensor([0, 0])
TREES = {*TREE_ESTIMATORS}  # need more than these batches have: tests/test_trees.py


def centred(outcome: Tensor, group: Tensor) -> Tensor:
    """Outcomes less the others' mean: the outcome is the one reward of its response."""
    alone = outcome[:, None]
    return rloo(alone, torch.ones_like(alone, dtype=torch.bool), group, "paper")[:, 0]


def of(batch: Batch, **settings):
    return advantages(batch.outcome, batch.reward, batch.mask, batch.group, **settings)


def test_leave_one_out_is_the_mean_of_the_others_in_ragged_groups_in_any_order():
    values = torch.tensor([1.0, 10.0, 2.0, 6.0, 14.0])
    group = torch.tensor([7, 3, 7, 7, 3])
    assert leave_one_out(values, group).tolist() == [4, 14, 3.5, 1.5, 10]


def test_one_correct_of_four_gets_one_and_the_others_minus_a_third():
    outcome = torch.tensor([1.0, 0.0, 0.0, 0.0])
    expected = torch.tensor([1.0, -1 / 3, -1 / 3, -1 / 3])
    torch.testing.assert_close(centred(outcome, torch.zeros(4).long()), expected)


def test_returns_discount_what_is_still_to_come():
    rewards = torch.tensor([[1.0, 2.0, 4.0]])
    assert discounted_returns(rewards, 0.5).tolist() == [[3, 4, 4]]
    assert discounted_returns(rewards, 1.0).tolist() == [[7, 6, 4]]
    assert discounted_returns(rewards, 0.0).tolist() == [[1, 2, 4]]


def test_the_papers_process_baseline_is_the_other_responses_mean_token_reward():
    rewards = torch.tensor([[1.0, 3.0], [5.0, 6.0]])
    mask = torch.tensor([[True, True], [True, False]])
    assert rloo(rewards, mask, PAIR, "paper")[mask].tolist() == [-4, -2, 3]


def test_the_codes_process_baseline_differs_by_r_minus_m_over_k_minus_one():
    rewards = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    paper, code = (rloo(rewards, ALL, PAIR, baseline) for baseline in ("paper", "code"))
    assert (code - paper).tolist() == [[-1, 1], [-1, 1]]


def test_outcome_and_process_returns_are_added_with_their_weights():
    rewards = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    outcome = torch.tensor([1.0, 0.0])
    ours, returns = advantages(
        outcome, rewards, ALL, PAIR, baseline="paper", whiten=False, outcome_coef=10, process_coef=2
    )
    # Centred rewards -5, -3 and 3, 5; summed to the end -8, -3 and 8, 5.
    assert returns.tolist() == [[10 - 16, 10 - 6], [-10 + 16, -10 + 10]]
    assert ours.tolist() == returns.tolist()


def test_additive_advantages_take_the_tokens_own_reward():
    rewards = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    outcome = torch.tensor([1.0, 0.0])
    ours, _ = advantages(
        outcome, rewards, ALL, PAIR, combine="advantages", whiten=False, process_coef=2
    )
    assert ours.tolist() == [[1 + 2, 1 + 6], [-1 + 10, -1 + 14]]


def test_the_outcome_is_discounted_from_the_last_token_that_counts():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    outcome = torch.tensor([1.0, 0.0])
    ours, _ = advantages(outcome, None, mask, PAIR, gamma_outcome=0.5, whiten=False)
    assert ours.tolist() == [[0.5, 1, 0], [-1, 0, 0]]


def test_grpo_divides_by_the_spread_of_mean_token_rewards():
    rewards = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    nothing = torch.zeros(2)
    ours, _ = advantages(nothing, rewards, ALL, PAIR, adv_estimator="grpo", whiten=False)
    spread = 8**0.5 + 1e-6
    expected = torch.tensor([[-3 - 1, -1], [1 + 3, 3]]) / spread
    torch.testing.assert_close(ours, expected)


def test_reinforce_has_no_baseline_and_takes_a_group_of_one():
    outcome, alone = torch.tensor([1.0]), torch.tensor([4])
    ours, _ = advantages(outcome, None, ALL[:1], alone, adv_estimator="reinforce", whiten=False)
    assert ours.tolist() == [[1, 1]]


def test_reinforce_pp_is_reinforce_whitened_over_the_batch_whatever_the_option():
    batch = random_batch(0)
    expected, _ = of(batch, adv_estimator="reinforce", whiten=True)
    ours, _ = of(batch, adv_estimator="reinforce_pp", whiten=False)
    torch.testing.assert_close(ours, expected)


def test_reinforce_pp_baseline_is_dr_grpo_whitened_over_the_batch_whatever_the_option():
    batch = random_batch(0)
    expected, _ = of(batch, adv_estimator="dr_grpo", whiten=True)
    ours, _ = of(batch, adv_estimator="reinforce_pp_baseline", whiten=False)
    torch.testing.assert_close(ours, expected)


@given(seed=seeds)
def test_opo_equals_a_slow_loop_over_the_equation(seed):
    batch = random_batch(seed)
    _, returns = of(batch, adv_estimator="opo", gamma_outcome=0.9, gamma_process=0.5)
    lengths = batch.mask.sum(1).tolist()
    for i in range(len(lengths)):
        group = [j for j in range(len(lengths)) if batch.group[j] == batch.group[i]]
        num_tokens = sum(lengths[j] for j in group)
        outcome = sum(lengths[j] * batch.outcome[j].item() for j in group) / num_tokens
        process = sum(batch.reward[j, : lengths[j]].sum().item() for j in group) / num_tokens
        for t in range(lengths[i]):
            expected = 0.9 ** (lengths[i] - 1 - t) * (batch.outcome[i].item() - outcome)
            for s in range(t, lengths[i]):
                expected += 0.5 ** (s - t) * (batch.reward[i, s].item() - process)
            assert returns[i, t].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_penalties_reach_the_tokens_before_them_where_responses_are_not_compared():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    outcome, penalty = torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 2.0, 9.0], [4.0, 9.0, 9.0]])
    settings = {"whiten": False, "gamma_outcome": 0.5, "penalty": penalty}
    ours, _ = advantages(outcome, None, mask, PAIR, adv_estimator="reinforce", **settings)
    assert ours.tolist() == [[0.5 - 1 - 1, 1 - 2, 0], [-4, 0, 0]]
    # Compared, a response is worth 1 - 3 or 0 - 4, whatever its token.
    ours, _ = advantages(outcome, None, mask, PAIR, adv_estimator="dr_grpo", **settings)
    assert ours.tolist() == [[0.5, 1, 0], [-1, 0, 0]]


@pytest.mark.parametrize("adv_estimator", sorted({*ADV_ESTIMATORS} - TOKEN_WISE - TREES))
def test_a_group_of_one_is_refused_by_name(adv_estimator):
    mask = torch.ones(3, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"groups \[8\]"):
        advantages(torch.ones(3), None, mask, torch.tensor([5, 8, 5]), adv_estimator=adv_estimator)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"adv_estimator": "magic"}, "magic"),
        ({"baseline": "guess"}, "guess"),
        ({"combine": "both"}, "both"),
    ],
)
def test_an_unknown_choice_is_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        of(random_batch(0), **settings)


def test_remax_compares_with_the_greedy_response_to_the_same_prompt():
    outcome, greedy = torch.tensor([1.0, 0.0]), torch.tensor([0.25, 0.25])
    remax = partial(advantages, adv_estimator="remax", whiten=False)
    ours, _ = remax(outcome, None, ALL, PAIR, greedy_outcome=greedy)
    assert torch.equal(ours, torch.tensor([0.75, -0.25])[:, None].expand(ALL.shape))
    for missing in (None, torch.tensor([0.0, float("nan")])):
        with pytest.raises(ValueError, match="needs the outcome of each prompt's greedy response"):
            remax(outcome, None, ALL, PAIR, greedy_outcome=missing)


def test_a_response_without_verdict_is_refused():
    batch = random_batch(0)
    batch.outcome[2] = float("nan")
    with pytest.raises(ValueError, match=r"responses \[2\] have no verdict"):
        of(batch)


def slow_rloo(batch: Batch, baseline: str, gamma_outcome: float, gamma_process: float):
    """Equation 5 of the paper (or the code's form of it), one token at a time."""
    num_responses, num_tokens = batch.mask.shape
    lengths = batch.mask.sum(1).tolist()
    mean = [batch.reward[j, : lengths[j]].double().mean().item() for j in range(num_responses)]
    returns = torch.zeros(num_responses, num_tokens, dtype=torch.double)
    for i in range(num_responses):
        others = [j for j in range(num_responses) if batch.group[j] == batch.group[i] and j != i]
        outcome = batch.outcome[i] - sum(batch.outcome[j] for j in others) / len(others)
        process = sum(mean[j] for j in others) / len(others)
        for t in range(lengths[i]):
            returns[i, t] += gamma_outcome ** (lengths[i] - 1 - t) * outcome
            for s in range(t, lengths[i]):
                reward = batch.reward[i, s].double() - process
                if baseline == "code":
                    reward += (batch.reward[i, s].double() - mean[i]) / len(others)
                returns[i, t] += gamma_process ** (s - t) * reward
    return returns.float()


@pytest.mark.parametrize("baseline", ["paper", "code"])
@pytest.mark.parametrize(("gamma_outcome", "gamma_process"), [(1.0, 1.0), (0.9, 0.5), (0.0, 0.0)])
def test_returns_equal_a_slow_loop_over_the_equation(baseline, gamma_outcome, gamma_process):
    for seed in range(5):
        batch = random_batch(seed)
        gammas = {"gamma_outcome": gamma_outcome, "gamma_process": gamma_process}
        _, returns = of(batch, baseline=baseline, **gammas)
        torch.testing.assert_close(returns, slow_rloo(batch, baseline, **gammas))


# remax is reinforce of other outcomes, and needs those.
estimators = st.sampled_from(sorted({*ADV_ESTIMATORS} - {"remax"} - TREES))


@given(seed=seeds, adv_estimator=estimators, width=st.integers(1, 9))
def test_padding_changes_nothing(seed, adv_estimator, width):
    batch = random_batch(seed)
    wider = Batch(
        batch.outcome,
        padded(batch.reward, width, float("inf")),
        padded(batch.mask, width, False),
        batch.group,
    )
    penalties = batch.reward, padded(batch.reward, width, float("nan"))
    for narrow, wide in zip(
        of(batch, adv_estimator=adv_estimator, penalty=penalties[0]),
        of(wider, adv_estimator=adv_estimator, penalty=penalties[1]),
        strict=True,
    ):
        torch.testing.assert_close(padded(narrow, width, 0.0), wide)


@given(seed=seeds, adv_estimator=estimators)
def test_the_order_of_responses_changes_nothing(seed, adv_estimator):
    batch = random_batch(seed)
    order = torch.randperm(len(batch.group), generator=torch.Generator().manual_seed(seed))
    ours, returns = of(batch, adv_estimator=adv_estimator)
    shuffled = of(batch.rows(order), adv_estimator=adv_estimator)
    torch.testing.assert_close(shuffled, (ours[order], returns[order]))


@given(seed=seeds, scale=st.floats(0.1, 10), shift=st.floats(-3, 3))
def test_rloo_scales_with_outcomes_and_does_not_see_a_constant_added_to_them(seed, scale, shift):
    batch = random_batch(seed)
    before = centred(batch.outcome, batch.group)
    after = centred(scale * batch.outcome + shift, batch.group)
    torch.testing.assert_close(after, scale * before, rtol=1e-4, atol=1e-5)


@given(seed=seeds)
def test_outcome_advantages_of_a_group_add_up_to_zero(seed):
    batch = random_batch(seed)
    ours = centred(batch.outcome, batch.group)
    for group in batch.group.unique():
        assert ours[batch.group == group].sum().item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        *reference_names("orig_rloo_"),
        *reference_names("recipe_rloo_"),
        *reference_names("verl_adv_"),
        *reference_names("pure_"),
    ],
)
def test_advantages_match_the_published_ones(name):
    agree(check(name))


@pytest.mark.parametrize("credit", ["min", "softmin"])
def test_credits_are_centred_by_the_estimator_over_tokens_that_count(credit):
    rewards = torch.tensor([[0.0, 1.0, 0.5, 9.0], [0.0, -1.0, 9.0, 9.0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool()
    ends = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 1]]).bool()
    ours = process_returns(rewards, mask, PAIR, "rloo", "paper", 1.0, credit, ends)
    wide = [torch.nn.functional.pad(x, (0, 3)) for x in (rewards, mask, ends)]
    again = process_returns(wide[0], wide[1], PAIR, "rloo", "paper", 1.0, credit, wide[2])
    torch.testing.assert_close(again[:, :4], ours)
    if credit == "min":
        expected = torch.tensor([[1.5, 1.5, 1.5, 0], [-1.5, -1.5, 0, 0]])
        torch.testing.assert_close(ours, expected)


def test_credits_of_steps_need_their_ends():
    with pytest.raises(ValueError, match="with step_ends one of"):
        process_returns(torch.zeros(2, 2), ALL, PAIR, "rloo", "code", 1.0, "min")
