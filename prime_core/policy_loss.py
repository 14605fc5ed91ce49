"""Policy losses per token, their aggregation, and estimators of the divergence of two policies.

In: log-probabilities [B, T] of the response's tokens under the policy in training and under the one
that sampled, advantages [B, T], the mask [B, T] of tokens that count. Out: losses [B, T], and sums
whose denominators are those of the whole minibatch: the micro batch size never changes a gradient.

To add a way to sum token losses:

1. a function here, with the arguments of `token_mean_loss`;
2. its line in LOSS_AGGREGATIONS;
3. its name in the Literal of `loss_agg_mode` in prime_core/settings/policy.py;
4. `make schema`.

A token's loss is added likewise: the arguments of `clipped_surrogate`, POLICY_LOSSES, `loss_mode`.
"""

# ruff: noqa: ARG001 (aggregations take the same denominators, and losses the same bounds)

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prime_core.masked import at_least_float32, masked_sum, only, sequence_mean

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

# verl's bound. exp(20) is 5e8, far beyond any clip; float32 overflows above exp(88).
MAX_LOG_RATIO = 20.0
# verl's bound of GSPO's exponent, and of its change of the adaptive KL coefficient.
MAX_SEQUENCE_LOG_RATIO = 10.0
MAX_KL_ERROR = 0.2

PolicyLoss = Callable[..., tuple[Tensor, Tensor]]
Aggregation = Callable[..., Tensor]


def log_ratio(
    logprobs: Float[Tensor, "B T"], other_logprobs: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """log pi - log pi_other, clamped to +-20 so that its exponential stays finite."""
    difference = at_least_float32(logprobs) - at_least_float32(other_logprobs)
    return difference.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def clipped_surrogate(
    logprobs: Float[Tensor, "B T"],
    old_logprobs: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    eps_clip: float,
    eps_clip_high: float,
    clip_ratio_c: float = 0.0,
) -> tuple[Float[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """PPO's loss of each token, and the tokens whose loss was clipped (arXiv 1707.06347, Eq. 7).

        rho = pi / pi_old
        loss = max(-rho A, -clip(rho, 1 - eps_clip, 1 + eps_clip_high) A)
        loss = min(loss, -clip_ratio_c A)       where A < 0, if clip_ratio_c > 0

    eps_clip_high above eps_clip is clip-higher (DAPO, arXiv 2503.14476); the last line is dual clip
    (arXiv 1912.09729). Raises ValueError for clip_ratio_c in (0, 1].
    """
    # At the ratio 1, where every update begins, a bound of 1 or less would already be reached: no
    # token with a negative advantage would have a gradient.
    if clip_ratio_c != 0 and clip_ratio_c <= 1:
        raise ValueError(f"clip_ratio_c must be 0 (off) or above 1, got {clip_ratio_c}")
    # Masked here and not only in the sum of losses: there the gradient of padding is 0, and 0 times
    # a NaN of the padding is NaN.
    advantages = only(advantages, mask)
    ratio = log_ratio(only(logprobs, mask), only(old_logprobs, mask)).exp()
    unclipped = -advantages * ratio
    # The larger loss: outside the clip a ratio loses its gradient only where moving on would gain;
    # one that went the wrong way is still pulled back.
    losses = torch.maximum(unclipped, -advantages * ratio.clamp(1 - eps_clip, 1 + eps_clip_high))
    if clip_ratio_c > 0:
        # With a negative advantage the loss grows with the ratio without bound: one token could
        # outweigh its minibatch.
        bounded = torch.minimum(losses, -advantages * clip_ratio_c)
        losses = torch.where(advantages < 0, bounded, losses)
    # An exact comparison is safe: maximum, minimum and where return an argument as it is.
    return losses, losses != unclipped


def sequence_surrogate(
    logprobs: Float[Tensor, "B T"],
    old_logprobs: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    eps_clip: float,
    eps_clip_high: float,
    clip_ratio_c: float = 0.0,
) -> tuple[Float[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """GSPO's loss of each token, and the tokens that were clipped (arXiv 2507.18071, Eq. 14).

        d_i = 1/|y_i| sum_t (log pi - log pi_old)
        s_it = exp(sg[d_i] + log pi_it - sg[log pi_it])         exponent at most 10
        loss = max(-s A, -clip(s, 1 - eps_clip, 1 + eps_clip_high) A)

    s is a response's ratio (the geometric mean of its tokens'), with a gradient at each token;
    sg: no gradient. Rows are whole responses: d_i is a mean over the row. Responses weigh the same
    under seq-mean-token-mean alone, which is therefore the only aggregation that the settings
    allow. Advantages may differ between the tokens of a response. Raises ValueError for a
    clip_ratio_c: GSPO has no dual clip.
    """
    _no_dual_clip(clip_ratio_c, "gspo")
    advantages, logprobs = only(advantages, mask), only(logprobs, mask)
    frozen = logprobs.detach()
    # Not clamped token by token: the mean is what must stay finite, and it is bounded below.
    of_response = sequence_mean(frozen - only(old_logprobs, mask), mask)[:, None]
    ratio = (of_response + logprobs - frozen).clamp(max=MAX_SEQUENCE_LOG_RATIO).exp()
    unclipped = -advantages * ratio
    losses = torch.maximum(unclipped, -advantages * ratio.clamp(1 - eps_clip, 1 + eps_clip_high))
    return losses, losses != unclipped


def clipped_weight_loss(
    logprobs: Float[Tensor, "B T"],
    old_logprobs: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    eps_clip: float,
    eps_clip_high: float,
    clip_ratio_c: float = 0.0,
) -> tuple[Float[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """CISPO's loss of each token, and those whose weight was clipped (arXiv 2506.13585, Eq. 4).

        loss = -sg[clip(rho, 1 - eps_clip, 1 + eps_clip_high)] A log pi

    The weight is clipped, not the loss: a token outside the bounds keeps a gradient. sg: no
    gradient. Raises ValueError for a clip_ratio_c: the weight is bounded already.
    """
    _no_dual_clip(clip_ratio_c, "cispo")
    advantages, logprobs = only(advantages, mask), only(logprobs, mask)
    ratio = log_ratio(logprobs.detach(), only(old_logprobs, mask)).exp()
    weight = ratio.clamp(1 - eps_clip, 1 + eps_clip_high)
    return -weight * advantages * logprobs, weight != ratio


def _no_dual_clip(clip_ratio_c: float, loss_mode: str) -> None:
    if clip_ratio_c != 0:
        raise ValueError(
            f"loss_mode '{loss_mode}' has no dual clip, got clip_ratio_c {clip_ratio_c}"
        )


POLICY_LOSSES: dict[str, PolicyLoss] = {
    "vanilla": clipped_surrogate,
    "gspo": sequence_surrogate,
    "cispo": clipped_weight_loss,
}


def token_mean_loss(
    losses: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    num_tokens: int,
    num_sequences: int,
    max_response_length: int,
) -> Float[Tensor, ""]:
    """Sum of the token losses over the minibatch's tokens: PRIME, DAPO (arXiv 2503.14476).

    sum_it loss_it / num_tokens
    """
    # num_tokens is the whole minibatch's, not this pass's: a mean here would weigh passes equally,
    # whatever they hold, and the micro batch size would change the gradient.
    return masked_sum(losses, mask) / num_tokens


def sequence_mean_token_sum_loss(
    losses: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    num_tokens: int,
    num_sequences: int,
    max_response_length: int,
) -> Float[Tensor, ""]:
    """Mean over responses of their summed loss: sum_it loss_it / num_sequences."""
    return masked_sum(losses, mask) / num_sequences


def sequence_mean_token_mean_loss(
    losses: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    num_tokens: int,
    num_sequences: int,
    max_response_length: int,
) -> Float[Tensor, ""]:
    """Mean over responses of their mean token loss: GRPO (arXiv 2402.03300, Eq. 3).

    sum_i (1/|y_i| sum_t loss_it) / num_sequences
    """
    # A masked mean in passes of one response, as in PRIME's published script on its GPUs, weighs
    # responses in this way.
    return sequence_mean(losses, mask).sum() / num_sequences


def sequence_mean_token_sum_norm_loss(
    losses: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    num_tokens: int,
    num_sequences: int,
    max_response_length: int,
) -> Float[Tensor, ""]:
    """Summed loss over a constant length (Dr. GRPO, arXiv 2503.20783, as verl computes it).

        sum_it loss_it / max_response_length

    Not divided by the number of responses, so its gradient grows with the minibatch.
    """
    return masked_sum(losses, mask) / max_response_length


LOSS_AGGREGATIONS: dict[str, Aggregation] = {
    "token-mean": token_mean_loss,
    "seq-mean-token-sum": sequence_mean_token_sum_loss,
    "seq-mean-token-mean": sequence_mean_token_mean_loss,
    "seq-mean-token-sum-norm": sequence_mean_token_sum_norm_loss,
}


def kl_estimate(
    logprobs: Float[Tensor, "B T"], reference_logprobs: Float[Tensor, "B T"], kind: str
) -> Float[Tensor, "B T"]:
    """Estimate of KL(pi || pi_ref) from one sampled token (Schulman, Approximating KL Divergence).

        d = log pi - log pi_ref
        k1: d       k2: d^2 / 2       k3: exp(-d) - 1 + d

    k1 and k3 are unbiased as values, k3 is never negative; as losses only k2's gradient is
    unbiased. Raises ValueError for another kind.
    """
    difference = log_ratio(logprobs, reference_logprobs)
    if kind == "k1":
        return difference
    if kind == "k2":
        return difference.square() / 2
    if kind == "k3":
        # exp(-d) - 1 loses the digits of a small d, and k3 could come out negative.
        return torch.expm1(-difference) + difference
    raise ValueError(f"kl kind must be 'k1', 'k2' or 'k3', got {kind!r}")


def next_kl_coef(
    kl_coef: float, kl: float, num_responses: int, target_kl: float, kl_horizon: int
) -> float:
    """The weight of the KL after a batch whose divergence was `kl` (arXiv 1909.08593, Sec. 2.2).

        c' = c (1 + clip(kl / target_kl - 1, -0.2, 0.2) num_responses / kl_horizon)

    kl: k1 averaged over each response's tokens, then over responses, as in the published code.
    """
    error = min(max(kl / target_kl - 1, -MAX_KL_ERROR), MAX_KL_ERROR)
    return kl_coef * (1 + error * num_responses / kl_horizon)
