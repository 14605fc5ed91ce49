"""Credit of steps: PURE's lowest reward, iStar's comparison of steps, GiGPO's of equal states.

In: rewards of steps or turns, the mask [B, T] of sampled tokens, the group [B] of each response
(with an environment an episode; those of a group begin alike). Out: [B, T], at every token what its
step is credited with. prime_core.advantage adds it to the outcome's advantage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prime_core.groups import group_mean, group_size, group_sum
from prime_core.masked import at_least_float32, discounted_returns, only
from prime_core.turns import at_turns, turn_ends

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

CREDITS = ("sum", "min", "softmin")
SOFTMIN_TEMPERATURE = 0.1  # PURE's
CENTRES = ("none", "group", "first_turn")
# How a step's reward is compared with others', by the estimator of outcomes.
STEP_ESTIMATORS = ("rloo", "grpo", "dr_grpo", "reinforce_pp_baseline")
GIGPO_NORMS = ("mean", "mean_std")


def weighted_to_lowest(
    rewards: Float[Tensor, "B T"], step_ends: Bool[Tensor, "B T"], temperature: float
) -> Float[Tensor, "B T"]:
    """Step rewards whose sum is close to the lowest of them (PURE, arXiv 2504.15275, Eq. 7).

    r'_k = r_k softmax(-r / temperature)_k          over a response's steps; 0 elsewhere
    """
    weights = (-rewards / temperature).masked_fill(~step_ends, -torch.inf).softmax(1)
    return only(rewards * weights, step_ends)


def lowest_from(
    rewards: Float[Tensor, "B T"], step_ends: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """The lowest reward of the steps that end at this token or later (PURE, min-form credit).

    R_t = min_{k >= t} r_k          0 behind the last step
    """
    later = rewards.masked_fill(~step_ends, torch.inf).flip(1).cummin(1).values.flip(1)
    return later.masked_fill(later.isinf(), 0.0)


def reward_ends(
    mask: Bool[Tensor, "B T"], step_ends: Bool[Tensor, "B T"] | None
) -> Bool[Tensor, "B T"]:
    """Last tokens of what has a reward of its own: of each step, or every token (None).

    A turn ends its last step: no step goes on behind an observation.
    """
    return mask if step_ends is None else (step_ends & mask) | turn_ends(mask)


def centred_steps(
    rewards: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    ends: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    adv_estimator: str,
    process_centre: str,
) -> Float[Tensor, "B T"]:
    """Each step's reward against those of its group, at all its tokens (iStar, arXiv 2509.19199).

        rloo:       n/(n-1) (r_k - mean)
        dr_grpo:    r_k - mean                  (reinforce_pp_baseline as well)
        grpo:       (r_k - mean) / (std + 1e-6)

    rewards stand at `ends`. mean, std (n - 1 in the denominator) and n are over all steps of all
    responses of the group (process_centre 'group', the paper's), or over each response's first step
    alone ('first_turn', the published code's). Raises ValueError for another estimator or centre,
    and for a group with a single step to compare with.
    """
    if adv_estimator not in STEP_ESTIMATORS:
        raise ValueError(f"adv_estimator must be in {STEP_ESTIMATORS}, got {adv_estimator!r}")
    if process_centre not in CENTRES[1:]:
        raise ValueError(f"process_centre must be in {CENTRES[1:]}, got {process_centre!r}")
    rows, columns = ends.nonzero(as_tuple=True)
    values, of_group = at_least_float32(rewards)[rows, columns], group[rows]
    counted = torch.ones_like(rows, dtype=torch.bool)
    if process_centre == "first_turn":
        counted = (ends & (ends.cumsum(1) == 1))[rows, columns]
    weight = counted.to(values.dtype)
    number = group_sum(weight, of_group)
    if bool((number < 2).any()):
        alone = of_group[number < 2].unique().tolist()
        raise ValueError(f"groups {alone} have a single step: at least two are needed")
    centred = values - group_sum(values * weight, of_group) / number
    if adv_estimator == "rloo":
        centred = centred * number / (number - 1)
    elif adv_estimator == "grpo":
        variance = group_sum(centred.square() * weight, of_group) / (number - 1)
        centred = centred / (variance.sqrt() + 1e-6)
    table = values.new_zeros(mask.shape).index_put((rows, columns), centred)
    return _from_ends(table, mask, ends)


def _from_ends(
    values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], ends: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """The value at each step's last token, at all its tokens."""
    # Exclusive, so that a last token belongs to its own step; one column more for what lies behind.
    step = ends.cumsum(1) - ends.long()
    table = values.new_zeros(len(values), values.shape[1] + 1)
    table = table.scatter_add(1, step, only(values, ends))
    return only(table.gather(1, step), mask)


def same_state_advantage(
    returns: Float[Tensor, "B N"],
    states: Int[Tensor, "B N"],
    group: Int[Tensor, " B"],
    gigpo_norm: str,
) -> Float[Tensor, "B N"]:
    """Each turn's return against those of turns in the same state (GiGPO, arXiv 2505.10978, Eq. 7).

        mean:       A_k = G_k - mean G
        mean_std:   A_k = (G_k - mean G) / (std G + 1e-6)

    over the turns of the group that answered an equal observation, n - 1 in std's denominator; a
    turn alone in its state has 0. states: -1 where a response has no turn. Raises ValueError for
    another gigpo_norm.
    """
    if gigpo_norm not in GIGPO_NORMS:
        raise ValueError(f"gigpo_norm must be in {GIGPO_NORMS}, got {gigpo_norm!r}")
    is_turn = states >= 0
    _, number = group.unique(return_inverse=True)
    # Equal observations of different groups are different anchors: their tasks differ.
    anchor = (number[:, None] * (states.max() + 1) + states)[is_turn]
    values = at_least_float32(returns)[is_turn]
    centred = values - group_mean(values, anchor)
    if gigpo_norm == "mean_std":
        others = (group_size(anchor) - 1).clamp(min=1)
        centred = centred / ((group_sum(centred.square(), anchor) / others).sqrt() + 1e-6)
    return at_least_float32(returns).new_zeros(states.shape).masked_scatter(is_turn, centred)


def gigpo_steps(
    turn_rewards: Float[Tensor, "B N"],
    states: Int[Tensor, "B N"],
    mask: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    gamma_turn: float,
    gigpo_norm: str,
    penalty: Float[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B T"]:
    """GiGPO's step advantages at all tokens (arXiv 2505.10978).

        G_k = sum_{l >= k} gamma_turn^(l - k) r_l - penalty_k

    compared by `same_state_advantage`. penalty: of turns whose action the environment could not
    take; as in the published code it is not discounted back to earlier turns.
    """
    returns = discounted_returns(turn_rewards.double(), gamma_turn)
    if penalty is not None:
        returns = returns - penalty.double()
    return at_turns(same_state_advantage(returns, states, group, gigpo_norm), mask)


def penalised_ends(
    rewards: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], penalty: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Rewards less each turn's penalty at the turn's last token. penalty: as `at_turns` puts it."""
    return rewards - only(penalty, turn_ends(mask))
