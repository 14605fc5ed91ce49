"""Sums, means and variances over the tokens that count.

In: values [B, T] and a bool mask [B, T], True = the token counts; what the other positions hold
(padding, text after the end of a response, NaN) never matters. Out: float32, or float64 where
values are float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float32 (bf16, half, integers, bools), or unchanged (float32, float64)."""
    # Not .float(): advantages are computed in float64 and must stay so.
    return values.to(torch.promote_types(values.dtype, torch.float32))


def only(values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """The values at True tokens and 0 elsewhere, whatever was there.

    Raises ValueError for a mask that is not bool: ~mask of integers would be all True.
    """
    if mask.dtype != torch.bool:
        raise ValueError(f"a mask must be bool, got {mask.dtype}")
    # Not a product with the mask: NaN times 0 is NaN.
    return at_least_float32(values).masked_fill(~mask, 0.0)


def last_token(mask: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """True at each row's last True token; nowhere in a row that has none."""
    # Not the number of True tokens less one: masks may have holes.
    num_tokens_left = mask.flip(1).cumsum(1).flip(1)
    return mask & (num_tokens_left == 1)


def steps_of(
    mask: Bool[Tensor, "B T"], step_ends: Bool[Tensor, "B T"]
) -> tuple[Int[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """The number of each token's step, from 0 on, and True at the last token of every step.

    A row's last token always ends its last step. At tokens that do not count the number is that of
    the step that follows; it is below T everywhere.
    """
    # Whatever the splitter marked, nothing of a response may lie after its last step: its reward
    # would be lost, and the log-odds would change.
    ends = (step_ends & mask) | last_token(mask)
    # Exclusive, so that a step's last token belongs to it. Always below T, since each end before a
    # position takes one position: scatter_add needs no further column.
    return ends.cumsum(1) - ends.long(), ends


def masked_sum(values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Sum over all True tokens of the batch."""
    return only(values, mask).sum()


def sequence_sum(values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """Sum over the True tokens of each row."""
    return only(values, mask).sum(1)


def token_mean(values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Mean over all True tokens of the batch: long rows weigh more than short ones.

    Raises ValueError if no token is True.
    """
    return masked_sum(values, mask) / _num_tokens(mask, at_least=1)


def sequence_mean(values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """Mean over the True tokens of each row; 0 for a row that has none."""
    # A row without tokens has the sum 0, so any divisor gives 0; without the clamp it is NaN.
    return sequence_sum(values, mask) / mask.sum(1).clamp(min=1)


def masked_var(
    values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], bessel: bool = True
) -> Float[Tensor, ""]:
    """Variance over all N True tokens of the batch.

        var = sum_i (v_i - mean)^2 / (N - 1)      (N instead of N - 1 without `bessel`)

    Raises ValueError with fewer than two True tokens (fewer than one without `bessel`).
    """
    num_tokens = _num_tokens(mask, at_least=2 if bessel else 1)
    # Two passes: mean square less squared mean cancels where the mean is large beside the spread.
    deviation = at_least_float32(values) - token_mean(values, mask)
    return masked_sum(deviation.square(), mask) / (num_tokens - int(bessel))


def masked_whiten(
    values: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    shift_mean: bool = True,
    eps: float = 1e-8,
) -> Float[Tensor, "B T"]:
    """Values with variance one over the batch's True tokens, and mean zero; 0 at other tokens.

        w_i = (v_i - mean) / sqrt(var + eps)      (+ mean without `shift_mean`)

    Raises ValueError with fewer than two True tokens.
    """
    mean = token_mean(values, mask)
    # eps is inside the root and the variance has N - 1, as in PRIME's published code and verl.
    whitened = (at_least_float32(values) - mean) * torch.rsqrt(masked_var(values, mask) + eps)
    return only(whitened if shift_mean else whitened + mean, mask)


def _num_tokens(mask: Bool[Tensor, "B T"], at_least: int) -> int:
    num_tokens = int(mask.sum())
    if num_tokens < at_least:
        raise ValueError(f"the mask counts {num_tokens} tokens, at least {at_least} are needed")
    return num_tokens


def discounted_returns(rewards: Float[Tensor, "B T"], gamma: float) -> Float[Tensor, "B T"]:
    """Discounted sum of the rewards from each token on.

        R_t = sum_{s >= t} gamma^(s - t) r_s

    With gamma 1 a cumulated sum; else sums over windows of 1, 2, 4, ... tokens: log2(T) steps
    instead of T, and less rounding.
    """
    if gamma == 1:
        # The paper's, and much faster; in float64, since 3,072 numbers are added one by one.
        return rewards.double().flip(1).cumsum(1).flip(1).to(at_least_float32(rewards).dtype)
    # Invariant: returns[t] is the discounted sum of the `window` rewards from t on. The window that
    # begins where this one ends doubles its length; beyond the row there are zeros.
    returns = at_least_float32(rewards)
    window = 1
    while window < rewards.shape[1]:
        returns = returns + gamma**window * pad(returns[:, window:], (0, window))
        window *= 2
    return returns
