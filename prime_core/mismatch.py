"""Correcting for the mismatch of sampler and trainer: importance weights and rejection.

In: log-probabilities [B, T] of the sampled tokens as the sampler reported them and as the trainer
computes them before its first step, the mask [B, T] of the responses' tokens. Out: what each
token's policy loss is multiplied by, and the tokens that are trained on. Neither has a gradient.

The two disagree because two programs round differently, and because a stale sampler is an older
policy (rollout.max_staleness; docs/decisions.md#sampler-logprobs). All levels start from the
clamped log-ratio of a token

    d_it = log pi_old(y_it) - log pi_sampler(y_it)      within +-20
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prime_core.masked import only, sequence_mean, sequence_sum
from prime_core.policy_loss import MAX_LOG_RATIO, log_ratio

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Correction:
    """weights: of the policy loss, 0 where a token is not accepted; truncated: weights that
    tis_clip set; accepted: tokens that are trained on. All [B, T].
    """

    weights: Float[Tensor, "B T"]
    truncated: Bool[Tensor, "B T"]
    accepted: Bool[Tensor, "B T"]

    @property
    def rows(self) -> list[int]:
        """Responses of which at least one token is trained on."""
        return self.accepted.any(1).nonzero().flatten().tolist()


class AllRejected(ValueError):
    """No token is left to train on."""


def correction(
    old_logprobs: Float[Tensor, "B T"],
    sampler_logprobs: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    tis_clip: float,
    tis_level: str,
    rejection_level: str,
    rejection_low: float,
    rejection_high: float,
) -> Correction:
    """Weights and accepted tokens of a whole batch (settings: policy.tis_*, policy.rejection_*).

    The loss is sum_it w_it accepted_it loss_it over the denominators of its aggregation, and these
    count accepted tokens, and responses that have one, alone: rejection does not shrink the step.
    Both depend on the batch only, so minibatches, micro batches and ranks do not enter.

    Raises AllRejected where nothing is left.
    """
    # Detached: they weigh samples, and a gradient through a weight would belong to another loss.
    # docs/decisions.md#sampler-logprobs
    ratios = log_ratio(only(old_logprobs.detach(), mask), only(sampler_logprobs.detach(), mask))
    accepted = accepted_tokens(ratios, mask, rejection_level, rejection_low, rejection_high)
    if not bool(accepted.any()):
        level = at_level(ratios, mask, rejection_level)[mask].exp()
        raise AllRejected(
            f"policy.rejection_level '{rejection_level}' rejects all {len(mask)} responses: their "
            f"ratios of trainer to sampler lie between {float(level.min()):.3g} and "
            f"{float(level.max()):.3g}, none within [policy.rejection_low {rejection_low:g}, "
            f"policy.rejection_high {rejection_high:g}]; see actor/mismatch_kl of earlier "
            "iterations, widen the bounds or lower rollout.max_staleness"
        )
    weights, truncated = truncated_weights(ratios, mask, tis_clip, tis_level)
    return Correction(only(weights, accepted), truncated & accepted, accepted)


def truncated_weights(
    ratios: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], tis_clip: float, tis_level: str
) -> tuple[Float[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """Truncated importance sampling: each token's weight, and those whose weight was truncated.

        token:      w_it = min(exp(d_it), tis_clip)
        sequence:   w_it = min(exp(sum_s d_is), tis_clip)      for all tokens of response i

    tis_clip 0: all weights are 1. Yao et al., Your Efficient RL Framework Secretly Brings You
    Off-Policy RL Training (2025), Eq. of TIS; sequence level as in verl's rollout correction.
    """
    if tis_clip == 0:
        # 0 is off; as a bound it would set every weight to 0.
        return only(torch.ones_like(ratios), mask), torch.zeros_like(mask)
    weights = at_level(ratios, mask, tis_level).exp()
    return only(weights.clamp(max=tis_clip), mask), (weights > tis_clip) & mask


def accepted_tokens(
    ratios: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    rejection_level: str,
    low: float,
    high: float,
) -> Bool[Tensor, "B T"]:
    """Tokens whose ratio, or whose response's ratio, lies within [low, high].

        token:      low <= exp(d_it) <= high
        sequence:   low <= exp(sum_s d_is) <= high
        geometric:  low <= exp(1/|y_i| sum_s d_is) <= high

    none: every token. Masked importance sampling (Liu et al., When Speed Kills Stability, 2025;
    verl's rollout correction: token_k1, seq_sum_k1, seq_mean_k1); the geometric mean is GSPO's
    ratio (arXiv 2507.18071, Eq. 7).
    """
    if rejection_level == "none":
        return mask
    ratio = at_level(ratios, mask, rejection_level).exp()
    return mask & (ratio >= low) & (ratio <= high)


def at_level(
    ratios: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], level: str
) -> Float[Tensor, "B T"]:
    """Log-ratios of tokens, or of each token's response: their sum or mean, within +-20.

    Raises ValueError for a level other than token, sequence and geometric.
    """
    if level == "token":
        return ratios
    if level == "sequence":
        of_response = sequence_sum(ratios, mask)
    elif level == "geometric":
        of_response = sequence_mean(ratios, mask)
    else:
        raise ValueError(f"level must be 'token', 'sequence' or 'geometric', got {level!r}")
    # Clamped again: a sum of clamped ratios over a long response still overflows exp.
    return of_response.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)[:, None].expand_as(ratios)
