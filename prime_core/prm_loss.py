"""Training the implicit PRM on outcomes, and how well it tells right from wrong.

In: the log-odds z [B] of each response, the sum of its implicit rewards (see implicit_reward), its
outcome [B] in [0, 1], and its group [B]. Out: losses [B] and counts. Cross-entropy: arXiv
2412.01981 and 2502.01456. DPO: arXiv 2412.01981. Detached DPO: verl's PRIME recipe.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from prime_core.groups import group_mean, group_size, pairs_within
from prime_core.implicit_reward import prefix_rewards
from prime_core.masked import at_least_float32, sequence_mean

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def prm_cross_entropy(
    summed_reward: Float[Tensor, " B"], outcome: Float[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """Cross-entropy of each response's outcome under the PRM (arXiv 2412.01981).

        loss_i = -r_i log sigmoid(z_i) - (1 - r_i) log(1 - sigmoid(z_i))

    Computed from z itself, so its gradient sigmoid(z) - r never vanishes where the PRM is
    confidently wrong. Raises ValueError for an outcome outside [0, 1], NaN included.
    """
    _refuse_outside(outcome)
    logits = at_least_float32(summed_reward)
    return binary_cross_entropy_with_logits(logits, outcome.to(logits.dtype), reduction="none")


def prm_noisy_cross_entropy(
    summed_reward: Float[Tensor, " B"],
    outcome: Float[Tensor, " B"],
    false_positive: float,
    false_negative: float,
    label_smoothing: float,
) -> Float[Tensor, " B"]:
    """Cross-entropy of outcomes that are wrong at known rates (forward correction, 1609.03683).

        p = sigmoid(z),      q = (1 - false_negative) p + false_positive (1 - p)
        loss_i = -y log q - (1 - y) log(1 - q),      y = r (1 - label_smoothing) + label_smoothing/2

    false_positive: share of wrong responses that are called right; false_negative: of right ones
    that are called wrong. All 0: `prm_cross_entropy`. Raises ValueError for an outcome outside
    [0, 1].
    """
    _refuse_outside(outcome)
    z = at_least_float32(summed_reward)
    target = (outcome * (1 - label_smoothing) + label_smoothing / 2).to(z.dtype)
    if false_positive == 0 and false_negative == 0:
        return binary_cross_entropy_with_logits(z, target, reduction="none")
    # In logarithms: where the PRM is sure, p or 1 - p rounds to 0 and its gradient with it.
    right, wrong = logsigmoid(z), logsigmoid(-z)
    called_right = _log_mixture(right, 1 - false_negative, wrong, false_positive)
    called_wrong = _log_mixture(wrong, 1 - false_positive, right, false_negative)
    return -target * called_right - (1 - target) * called_wrong


def _log_mixture(one: Tensor, weight: float, other: Tensor, other_weight: float) -> Tensor:
    """log(weight e^one + other_weight e^other), of weights of which the second may be 0."""
    if other_weight == 0:
        return one + math.log(weight)
    return torch.logaddexp(one + math.log(weight), other + math.log(other_weight))


def opponent_reward(
    summed_reward: Float[Tensor, " B"], outcome: Float[Tensor, " B"], group: Int[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """Mean z of the group's responses with the opposite outcome: opponents of prm_dpo_detached.

        o_i = mean of z_j over j of i's group with r_j < r_i, if r_i > 0, with r_j > r_i otherwise

    0 where there is none. No gradient. Takes complete groups, before the update begins.
    docs/decisions.md#detached-dpo
    """
    left, right = pairs_within(group)
    z, won = at_least_float32(summed_reward.detach()), outcome > 0
    # Outcomes may be fractions: above 0 counts as won, as in verl's recipe, and opponents are then
    # those that did worse.
    opposed = torch.where(
        won[left], outcome[right] < outcome[left], outcome[right] > outcome[left]
    ).to(z.dtype)
    total = torch.zeros_like(z).index_add(0, left, opposed * z[right])
    # Without opponents both sums are 0, and z is compared with even odds.
    return total / torch.zeros_like(z).index_add(0, left, opposed).clamp(min=1)


def prm_dpo_detached(
    summed_reward: Float[Tensor, " B"],
    opponent_reward: Float[Tensor, " B"],
    outcome: Float[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """DPO loss of each response against the mean of its opponents, as in verl's PRIME recipe.

        loss_i = -log sigmoid(s_i (z_i - o_i)),      s_i = 1 if r_i > 0, -1 otherwise

    The pair is detached: gradient flows through z_i alone, so that a group need not share a micro
    batch. z carries beta, and so must `opponent_reward`.
    """
    lead = at_least_float32(summed_reward) - opponent_reward
    # log(sigmoid) would be -inf, without a usable gradient, where the PRM is surely wrong.
    return -logsigmoid(torch.where(outcome > 0, lead, -lead))


def prm_prefix(
    implicit_reward: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    outcome: Float[Tensor, " B"],
    margin: Float[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """Loss of each response's prefixes, all of which predict its outcome (IPVRM, 2604.13197).

        s = 2 r - 1,      loss_i = 1/T sum_t -log sigmoid(s_i u_it - m_i)

    u_t is the mean reward up to token t (`prefix_rewards`); rewards carry beta, usually 10.
    Raises ValueError for an outcome outside [0, 1], NaN included.
    """
    _refuse_outside(outcome)
    means = prefix_rewards(at_least_float32(implicit_reward), mask)
    sign = (2 * outcome - 1).to(means.dtype)
    return sequence_mean(-logsigmoid(sign[:, None] * means - margin[:, None]), mask)


def difficulty_terms(
    outcome: Float[Tensor, " B"], group: Int[Tensor, " B"], difficulty: str, margin: float
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Weight and margin of each response's prefix loss, by its group's mean outcome p (IPVRM).

        weight:     1 - p where right, p where wrong, over the group's mean of these
        boundary:   margin - logit(p) where right, margin + logit(p) where wrong

    difficulty: 'none' (weights of 1, the same margin), 'weight', 'boundary' or 'both'. A group of
    equal outcomes has weights of 1; p is kept within [1e-6, 1 - 1e-6]. Takes complete groups.
    Raises ValueError for another difficulty.
    """
    if difficulty not in ("none", "weight", "boundary", "both"):
        known = "'none', 'weight', 'boundary' or 'both'"
        raise ValueError(f"difficulty must be {known}, got {difficulty!r}")
    won, mean = outcome > 0, group_mean(outcome, group)
    weight, margins = torch.ones_like(mean), torch.full_like(mean, margin)
    if difficulty in ("weight", "both"):
        surprise = torch.where(won, 1 - mean, mean)
        usual = group_mean(surprise, group)
        weight = torch.where(usual > 0, surprise / usual.clamp(min=1e-6), weight)
    if difficulty in ("boundary", "both"):
        logit = torch.logit(mean, eps=1e-6)
        margins = margins + torch.where(won, -logit, logit)
    return weight, margins


def _refuse_outside(outcome: Float[Tensor, " B"]) -> None:
    # Asks for what must hold, since NaN fails every comparison: "any outside" would let it pass.
    if not bool(((outcome >= 0) & (outcome <= 1)).all()):
        raise ValueError(f"outcomes must lie in [0, 1], got {outcome.tolist()}")


def best_of_n_weight(value: Float[Tensor, " B"], group: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Weight of each response's loss: its chance of being the best of K drawn from its group.

        w_i = K (share of the group with v_j <= v_i)^(K - 1)

    The value is the outcome (bon_acc) or z (bon_rm). Takes complete groups. verl's recipe adds the
    weighted losses up (num_responses = 1) instead of averaging them.
    """
    left, right = pairs_within(group)
    size = group_size(group)
    # Ties and the response itself count, so that the best weighs K and equals weigh the same.
    not_above = (value[right] <= value[left]).float()
    share = torch.zeros(len(value), device=value.device).index_add(0, left, not_above) / size
    return size * share ** (size - 1)


def pair_terms(
    summed_reward: Float[Tensor, " B"],
    outcome: Float[Tensor, " B"],
    group: Int[Tensor, " B"],
    bon_weight: str,
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """What detached DPO needs of a response's whole group: its opponents' reward and its weight.

    bon_weight: 'none' (weights of 1), 'bon_acc' or 'bon_rm'. No gradient. Takes complete groups.
    Raises ValueError for another bon_weight.
    """
    z = at_least_float32(summed_reward.detach())
    opponents = opponent_reward(z, outcome, group)
    if bon_weight == "none":
        return opponents, torch.ones_like(z)
    values = {"bon_acc": outcome, "bon_rm": z}
    if bon_weight not in values:
        raise ValueError(f"bon_weight must be 'none', 'bon_acc' or 'bon_rm', got {bon_weight!r}")
    return opponents, best_of_n_weight(values[bon_weight], group)


def dpo_tangent(
    summed_reward: Float[Tensor, " B"], outcome: Float[Tensor, " B"], group: Int[Tensor, " B"]
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """DPO's loss and slope in each z, from z without a gradient: what prm_dpo needs of the groups.

        L = 1/P sum_{(i, j)} -log sigmoid(z_i - z_j)
        slope_i = B dL/dz_i                         value_i = B (share of i in L)

    over the P pairs of one group with r_i > r_j, as in Free Process Rewards (arXiv 2412.01981),
    whose file has the pairs one by one; half of a pair's loss is the share of either. Times B,
    since prm_loss divides by it. Returns value and slope. Takes complete groups. Raises ValueError
    without a pair.
    """
    z = at_least_float32(summed_reward.detach())
    left, right = pairs_within(group)
    won = outcome[left] > outcome[right]
    left, right = left[won], right[won]
    if len(left) == 0:
        raise ValueError("no group has responses of different outcomes, which dpo compares")
    lead, scale = z[left] - z[right], len(z) / len(left)
    value, slope = torch.zeros_like(z), torch.zeros_like(z)
    for side, sign in ((left, -1.0), (right, 1.0)):
        value.index_add_(0, side, -logsigmoid(lead) * scale / 2)
        slope.index_add_(0, side, sign * torch.sigmoid(-lead) * scale)
    return value, slope


def prm_dpo(
    summed_reward: Float[Tensor, " B"],
    value: Float[Tensor, " B"],
    slope: Float[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """Each response's share of DPO's loss, with the gradient of both sides of its pairs.

        loss_i = value_i + slope_i (z_i - sg[z_i])            sg: no gradient

    The sum's gradient is that of dpo_tangent's L where z is what L was taken at, so the two sides
    of a pair need not share a micro batch. docs/decisions.md#dpo-of-both-sides
    """
    z = at_least_float32(summed_reward)
    return value + slope * (z - z.detach())


def prm_loss(losses: Float[Tensor, " B"], num_responses: int) -> Float[Tensor, ""]:
    """A micro batch's part of the mean loss over the `num_responses` of its whole minibatch.

        L = 1/num_responses sum_i loss_i

    The parts of a minibatch's micro batches add up to its mean, however it was cut.
    """
    return losses.sum() / num_responses


def prm_accuracy(
    summed_reward: Float[Tensor, " B"], outcome: Float[Tensor, " B"]
) -> Float[Tensor, ""]:
    """Share of responses whose sign of z agrees with their outcome: mean of ((z > 0) == (r > 1/2)).

    Raises ValueError for an empty batch.
    """
    if len(outcome) == 0:
        raise ValueError("no responses to compute the accuracy of")
    return ((summed_reward > 0) == (outcome > 0.5)).float().mean()


def prm_ranking_accuracy(
    summed_reward: Float[Tensor, " B"], outcome: Float[Tensor, " B"], group: Int[Tensor, " B"]
) -> tuple[float, float]:
    """Pairs (correct, incorrect) of one group that z ranks correctly, and all such pairs.

        num_right = #{(i, j) of one group: r_i = 1, r_j = 0, z_i > z_j} + 1/2 #{... z_i = z_j}

    Counts rather than a share, so that parts of a batch can be added: (0.0, 0.0) without a pair.
    Where outcomes are fractions a pair counts r_i - r_j, as in PRIME's published code.
    """
    better, worse = pairs_within(group)
    # Each unordered pair occurs in both orders; the clamp keeps the one that its names describe.
    margin = (outcome[better] - outcome[worse]).clamp(min=0).double()
    lead = summed_reward.detach()[better] - summed_reward.detach()[worse]
    return float((margin * (lead.sign() + 1) / 2).sum()), float(margin.sum())
