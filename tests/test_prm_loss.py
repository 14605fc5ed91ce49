import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prime_core.implicit_reward import implicit_reward, log_odds
from prime_core.prm_loss import (
    best_of_n_weight,
    difficulty_terms,
    opponent_reward,
    pair_terms,
    prm_accuracy,
    prm_cross_entropy,
    prm_dpo,
    prm_loss,
    prm_noisy_cross_entropy,
    prm_prefix,
    prm_ranking_accuracy,
)
from tests.support.batches import Batch, random_batch, seeds
from tests.support.comparison import agree
from tests.support.reference_checks import check
from tests.support.shared_data import reference_names

NAN = float("nan")
ONE_GROUP = torch.zeros(4).long()


def summed(batch: Batch) -> torch.Tensor:
    return log_odds(batch.reward, batch.mask)


def test_at_even_odds_the_loss_is_the_logarithm_of_two():
    losses = prm_cross_entropy(torch.zeros(2), torch.tensor([0.0, 1.0]))
    assert losses.tolist() == pytest.approx([math.log(2)] * 2)


def test_at_odds_of_three_to_one_right_costs_log_4_3_and_wrong_log_4():
    z = torch.full((2,), math.log(3))
    losses = prm_cross_entropy(z, torch.tensor([1.0, 0.0]))
    assert losses.tolist() == pytest.approx([math.log(4 / 3), math.log(4)])


def test_a_prm_that_is_surely_wrong_keeps_its_whole_gradient():
    z = torch.tensor([1000.0, -1000.0], requires_grad=True)
    losses = prm_cross_entropy(z, torch.tensor([0.0, 1.0]))
    (gradient,) = torch.autograd.grad(losses.sum(), z)
    assert gradient.tolist() == [1, -1]


@pytest.mark.parametrize("outcome", [NAN, -0.5, 2.0])
def test_an_outcome_that_is_no_outcome_is_refused(outcome):
    with pytest.raises(ValueError, match="outcomes must lie in"):
        prm_cross_entropy(torch.zeros(1), torch.tensor([outcome]))


def test_the_gradient_of_a_tokens_logprob_is_beta_times_probability_less_outcome():
    mask = torch.tensor([[True, True, False]])
    logprobs = torch.tensor([[-1.0, -2.0, -3.0]], requires_grad=True)
    z = log_odds(implicit_reward(logprobs, logprobs.detach(), mask, beta=0.05), mask)
    prm_loss(prm_cross_entropy(z, torch.ones(1)), num_responses=1).backward()
    torch.testing.assert_close(logprobs.grad, torch.tensor([[-0.025, -0.025, 0.0]]))


def test_ranking_counts_pairs_of_one_group_and_half_of_ties():
    z = torch.tensor([2.0, 1.0, 1.0, 0.0, 9.0, 8.0])
    outcome = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    group = torch.tensor([0, 0, 0, 0, 1, 1])
    assert prm_ranking_accuracy(z, outcome, group) == (3.5, 4)


def test_without_a_pair_there_is_nothing_to_rank():
    assert prm_ranking_accuracy(torch.ones(4), torch.ones(4), ONE_GROUP) == (0, 0)


def test_accuracy_compares_the_sign_of_the_log_odds_with_the_outcome():
    z, outcome = torch.tensor([2.0, -1.0, 3.0, -4.0]), torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert prm_accuracy(z, outcome) == 0.75
    with pytest.raises(ValueError, match="no responses"):
        prm_accuracy(z[:0], outcome[:0])


def test_opponents_are_the_responses_that_ended_otherwise():
    z, outcome = torch.tensor([5.0, 1.0, 3.0, -2.0]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    assert opponent_reward(z, outcome, ONE_GROUP).tolist() == [2, 1.5, 1.5, 2]
    assert opponent_reward(z, torch.ones(4), ONE_GROUP).tolist() == [0] * 4


def test_dpo_pushes_a_correct_response_above_its_opponents_and_a_wrong_one_below():
    z = torch.zeros(2, requires_grad=True)
    losses = prm_dpo(z, torch.zeros(2), torch.tensor([1.0, 0.0]))
    (gradient,) = torch.autograd.grad(losses.sum(), z)
    assert losses.tolist() == pytest.approx([math.log(2)] * 2)
    assert gradient.tolist() == [-0.5, 0.5]


def test_the_best_of_four_weighs_four_and_the_worst_nearly_nothing():
    weights = best_of_n_weight(torch.tensor([4.0, 3.0, 2.0, 1.0]), ONE_GROUP)
    assert weights.tolist() == [4, 4 * 0.75**3, 4 * 0.5**3, 4 * 0.25**3]


def test_a_weight_of_another_name_is_refused():
    with pytest.raises(ValueError, match="bon_weight must be 'none', 'bon_acc' or 'bon_rm'"):
        pair_terms(torch.ones(4), torch.ones(4), ONE_GROUP, "bon")


def test_opponents_and_weights_carry_no_gradient():
    z = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    outcome = torch.tensor([1.0, 0.0, 0.0, 1.0])
    for part in pair_terms(z, outcome, ONE_GROUP, "bon_rm"):
        assert not part.requires_grad


@given(seed=seeds)
def test_best_of_n_weights_equal_a_slow_loop_and_depend_on_ranks_alone(seed):
    batch = random_batch(seed)
    z = summed(batch).round()
    for bon_weight, values in (("bon_acc", batch.outcome), ("bon_rm", z)):
        _, weights = pair_terms(z, batch.outcome, batch.group, bon_weight)
        for i in range(len(z)):
            siblings = values[batch.group == batch.group[i]]
            size = len(siblings)
            share = sum(1 for value in siblings if value <= values[i]) / size
            assert float(weights[i]) == pytest.approx(size * share ** (size - 1), rel=1e-5)
    _, ranked = pair_terms(z, batch.outcome, batch.group, "bon_rm")
    _, stretched = pair_terms(7 * z.exp(), batch.outcome, batch.group, "bon_rm")
    torch.testing.assert_close(ranked, stretched)


@given(seed=seeds, shift=st.floats(-3, 3))
def test_dpo_sees_differences_within_a_group_alone(seed, shift):
    batch = random_batch(seed)
    z = summed(batch)
    has_pair = torch.tensor(
        [len(set(batch.outcome[batch.group == one].tolist())) > 1 for one in batch.group]
    )
    losses, shifted = (
        prm_dpo(scores, opponent_reward(scores, batch.outcome, batch.group), batch.outcome)
        for scores in (z, z + shift * (1 + batch.group))
    )
    torch.testing.assert_close(shifted[has_pair], losses[has_pair], rtol=1e-3, atol=1e-4)


@given(seed=seeds)
def test_ranking_equals_a_slow_loop_over_pairs(seed):
    batch = random_batch(seed)
    z = summed(batch).round()
    right, pairs = 0.0, 0
    for i in range(len(z)):
        for j in range(len(z)):
            if batch.group[i] == batch.group[j] and batch.outcome[i] > batch.outcome[j]:
                right += 1.0 if z[i] > z[j] else 0.5 if z[i] == z[j] else 0.0
                pairs += 1
    assert prm_ranking_accuracy(z, batch.outcome, batch.group) == (right, pairs)


@given(seed=seeds)
def test_dpo_equals_a_slow_loop_over_responses(seed):
    batch = random_batch(seed)
    z = summed(batch)
    losses = prm_dpo(z, opponent_reward(z, batch.outcome, batch.group), batch.outcome)
    for i in range(len(z)):
        others = (batch.group == batch.group[i]) & (batch.outcome != batch.outcome[i])
        opponent = z[others].mean() if others.any() else torch.tensor(0.0)
        sign = 2 * batch.outcome[i] - 1
        expected = torch.log1p(torch.exp(-sign * (z[i] - opponent)))
        torch.testing.assert_close(losses[i], expected, rtol=1e-4, atol=1e-5)


@given(seed=seeds, micro_batch_size=st.integers(1, 5))
def test_gradients_of_micro_batches_add_up_to_that_of_the_minibatch(seed, micro_batch_size):
    batch = random_batch(seed)
    num_responses = len(batch.outcome)
    whole, parts = (summed(batch).clone().requires_grad_() for _ in range(2))
    prm_loss(prm_cross_entropy(whole, batch.outcome), num_responses).backward()
    for rows in torch.arange(num_responses).split(micro_batch_size):
        losses = prm_cross_entropy(parts[rows], batch.outcome[rows])
        prm_loss(losses, num_responses).backward()
    torch.testing.assert_close(parts.grad, whole.grad)


@pytest.mark.parametrize(
    "name",
    [
        *reference_names("orig_ce_"),
        *reference_names("orig_dpoacc_"),
        *reference_names("recipe_prmloss_"),
        *reference_names("ipvrm_"),
    ],
)
def test_losses_and_gradients_match_the_published_ones(name):
    agree(check(name))


@pytest.mark.parametrize(
    "name", [*reference_names("orig_prmstep_"), *reference_names("recipe_update_")]
)
def test_a_whole_update_ends_with_the_published_weights(name):
    agree(check(name))


def test_the_prefix_loss_equals_a_slow_loop_over_the_equation():
    rewards, mask = torch.tensor([[3.0, -1.0, 9.0], [2.0, 2.0, 5.0]]), torch.ones(2, 3).bool()
    mask[0, 2] = False
    outcome, margin = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 2.0])
    losses = prm_prefix(rewards, mask, outcome, margin)
    expected = []
    for row, length in ((0, 2), (1, 3)):
        sign, terms = 2 * float(outcome[row]) - 1, []
        for t in range(1, length + 1):
            mean = float(rewards[row, :t].sum()) / t
            terms.append(math.log(1 + math.exp(float(margin[row]) - sign * mean)))
        expected.append(sum(terms) / length)
    assert losses.tolist() == pytest.approx(expected)


def test_an_unusual_outcome_weighs_more_and_needs_a_larger_margin():
    outcome = torch.tensor([1.0, 0.0, 0.0, 0.0])
    weight, margin = difficulty_terms(outcome, ONE_GROUP, "both", 1.0)
    assert weight.mean().item() == pytest.approx(1)
    assert weight[0] == 3 * weight[1]
    assert margin.tolist() == pytest.approx([1 + math.log(3)] + [1 - math.log(3)] * 3)
    alike = difficulty_terms(torch.ones(4), ONE_GROUP, "weight", 1.0)
    assert alike[0].tolist() == [1] * 4


def test_forward_correction_equals_the_equation_and_without_noise_is_the_cross_entropy():
    z, outcome = torch.tensor([0.3, -2.0, 4.0]), torch.tensor([1.0, 0.0, 1.0])
    losses = prm_noisy_cross_entropy(z, outcome, 0.1, 0.2, 0.0)
    p = z.sigmoid()
    q = 0.8 * p + 0.1 * (1 - p)
    expected = -outcome * q.log() - (1 - outcome) * (1 - q).log()
    torch.testing.assert_close(losses, expected)
    plain = prm_noisy_cross_entropy(z, outcome, 0.0, 0.0, 0.0)
    assert torch.equal(plain, prm_cross_entropy(z, outcome))
    smooth = prm_noisy_cross_entropy(z, outcome, 0.0, 0.0, 0.2)
    torch.testing.assert_close(smooth, prm_cross_entropy(z, 0.8 * outcome + 0.1))


@pytest.mark.parametrize("rates", [(0.1, 0.0), (0.0, 0.3), (0.2, 0.1)])
def test_noise_keeps_losses_and_gradients_finite_where_the_prm_is_sure(rates):
    z = torch.tensor([200.0, -200.0, 200.0, -200.0], requires_grad=True)
    losses = prm_noisy_cross_entropy(z, torch.tensor([0.0, 1.0, 1.0, 0.0]), rates[0], rates[1], 0.0)
    (gradient,) = torch.autograd.grad(losses.sum(), z)
    assert losses.isfinite().all()
    assert gradient.isfinite().all()
