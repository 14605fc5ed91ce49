"""Implicit process rewards: how much each token moves the PRM's log-odds of a correct answer.

Free Process Rewards without Process Labels (arXiv 2412.01981), used by PRIME (arXiv
2502.01456). In: log-probabilities [B, T] of the response's tokens under the PRM and under its
reference, and the mask [B, T] of tokens that count. Out: rewards [B, T], 0 at other tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prime_core.masked import (
    at_least_float32,
    discounted_returns,
    last_token,
    masked_var,
    only,
    sequence_mean,
    sequence_sum,
)
from prime_core.turns import turn_ends

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def implicit_reward(
    prm_logprobs: Float[Tensor, "B T"],
    reference_logprobs: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    beta: float,
) -> Float[Tensor, "B T"]:
    """Implicit reward of each token (arXiv 2412.01981, arXiv 2502.01456).

        r_t = beta (log pi_phi(y_t | x, y_<t) - log pi_ref(y_t | x, y_<t))

    Differentiable with respect to both log-probabilities.
    """
    # Widened first: beta times the ratio, rounded to bfloat16's 8 bits at every token, would add up
    # over a response.
    log_ratio = at_least_float32(prm_logprobs) - at_least_float32(reference_logprobs)
    # Some code gives the advantage the bare ratio instead. docs/decisions.md#rewards-carry-beta
    return only(beta * log_ratio, mask)


def log_odds(
    implicit_reward: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, " B"]:
    """The PRM's log-odds that the response is correct (arXiv 2412.01981).

    z = sum_t r_t,      p(correct) = sigmoid(z)
    """
    return sequence_sum(implicit_reward, mask)


def prefix_rewards(
    implicit_reward: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Mean reward of each response's tokens up to this one (IPVRM, arXiv 2604.13197).

    u_t = 1/t sum_{s <= t} r_s
    """
    rewards = only(implicit_reward, mask)
    return only(rewards.cumsum(1) / mask.cumsum(1).clamp(min=1), mask)


def response_score(
    implicit_reward: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], kind: str
) -> Float[Tensor, " B"]:
    """What a response's correctness is judged by: z, the sum of its rewards, or their mean.

    `mean` is z over the number of tokens, so that long responses are not surer than short ones;
    `turn_mean` is z over the number of turns (iStar's published code, arXiv 2509.19199).
    Raises ValueError for another kind.
    """
    if kind == "sum":
        return log_odds(implicit_reward, mask)
    if kind == "mean":
        return sequence_mean(implicit_reward, mask)
    if kind == "turn_mean":
        # An empty response has a sum of 0, whatever it is divided by.
        return log_odds(implicit_reward, mask) / turn_ends(mask).sum(1).clamp(min=1)
    raise ValueError(f"response_score must be 'sum', 'mean' or 'turn_mean', got {kind!r}")


def without_eos_reward(
    implicit_reward: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Rewards with that of each response's last token set to 0, as verl's PRIME recipe does."""
    return only(implicit_reward, mask & ~last_token(mask))


def per_step(
    implicit_reward: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    step_ends: Bool[Tensor, "B T"],
) -> Float[Tensor, "B T"]:
    """Each step's summed reward at the step's last token, 0 at the others.

        r'_t = sum of r_s over the step that ends at t

    `step_ends` marks last tokens of steps; a turn's last token always ends its last step, so no
    step goes on behind an observation.
    """
    # Whatever the splitter marked, nothing of a response may lie after its last step: its reward
    # would be lost, and the log-odds would change.
    return _summed_at(implicit_reward, mask, (step_ends & mask) | turn_ends(mask))


def _summed_at(
    implicit_reward: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], ends: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """At each end the sum since the one before; a response's last token must be an end."""
    # Exclusive, so that a step's last token belongs to it. Always below T, since each end before a
    # position takes one position: scatter_add needs no further column.
    step = ends.cumsum(1) - ends.long()
    rewards = only(implicit_reward, mask)
    step_rewards = torch.zeros_like(rewards).scatter_add(1, step, rewards)
    return only(step_rewards.gather(1, step), ends)


def at_granularity(
    implicit_reward: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    granularity: str,
    step_ends: Bool[Tensor, "B T"] | None,
) -> Float[Tensor, "B T"]:
    """Reward of each token: `token` its own; `step`, `turn` and `whole` sums at the last token.

    Sums are preserved: the response's total does not depend on the granularity.
    Raises ValueError for `step` without `step_ends`, and for another granularity.
    """
    if granularity == "token":
        return only(implicit_reward, mask)
    if granularity == "turn":
        # A turn without marks is one step, since its last token always ends one.
        return per_step(implicit_reward, mask, torch.zeros_like(mask))
    if granularity == "whole":
        return _summed_at(implicit_reward, mask, last_token(mask))
    if granularity != "step":
        known = "'token', 'step', 'turn' or 'whole'"
        raise ValueError(f"granularity must be {known}, got {granularity!r}")
    if step_ends is None:
        raise ValueError("granularity 'step' needs step_ends")
    return per_step(implicit_reward, mask, step_ends)


def batch_norm(
    implicit_reward: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Rewards divided by the largest return in the batch (PRIME's published code).

        r_it / (max_{j,s} |sum_{u >= s} r_ju| + 1e-6)

    Takes the WHOLE batch: over a part of it the divisor would depend on how it was split.
    docs/decisions.md#batch-norm
    """
    rewards = only(implicit_reward, mask)
    # Undiscounted whatever gamma_process is, as in the published code.
    largest = only(discounted_returns(rewards, gamma=1.0), mask).abs().max()
    # A PRM that starts from its reference gives rewards of 0 everywhere at first, which must not
    # become 0 / 0.
    return rewards / (largest + 1e-6)


def value_std(
    implicit_reward: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Rewards in standard deviations of the batch's prefix values (IPVRM, arXiv 2604.13197).

        V_t = sum_{s <= t} r_s,      r_t / (std V + 1e-6)

    r_t is the temporal difference V_t - V_{t-1}. Takes the WHOLE batch, like `batch_norm`.
    """
    rewards = only(implicit_reward, mask)
    values = rewards.cumsum(1)
    # As for batch_norm: a PRM that starts from its reference has values of 0 everywhere.
    return rewards / (masked_var(values, mask).sqrt() + 1e-6)


def shaped_reward(
    implicit_reward: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    granularity: str,
    prime_norm: str,
    eos_reward: bool,
    step_ends: Bool[Tensor, "B T"] | None,
) -> Float[Tensor, "B T"]:
    """Rewards as the advantage takes them: eos_reward, then granularity, then prime_norm.

    Without `eos_reward` the last token's own reward is 0 before steps are summed, so that `step`,
    `turn` and `whole` lose that token and not the whole sum. `prime_norm` is 'none',
    'batch_norm' or 'value_std'. Takes the whole batch. Raises ValueError for an unknown
    granularity or norm.
    """
    kept = implicit_reward if eos_reward else without_eos_reward(implicit_reward, mask)
    rewards = at_granularity(kept, mask, granularity, step_ends)
    if prime_norm == "none":
        return rewards
    if prime_norm == "batch_norm":
        return batch_norm(rewards, mask)
    if prime_norm == "value_std":
        return value_std(rewards, mask)
    known = "'none', 'batch_norm' or 'value_std'"
    raise ValueError(f"prime_norm must be {known}, got {prime_norm!r}")
