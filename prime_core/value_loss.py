"""The loss of PPO's value model, and how much of the returns its values explain.

In: values [B, T] of the states before each token, now and when the advantages were computed, the
returns [B, T] that they should predict, the mask [B, T] of tokens that count. Out: losses [B, T],
aggregated like the policy's (prime_core.policy_loss) over the whole minibatch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prime_core.masked import masked_var, only

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def clipped_value_loss(
    values: Float[Tensor, "B T"],
    old_values: Float[Tensor, "B T"],
    returns: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    cliprange_value: float,
) -> tuple[Float[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """Squared error of each token, and the tokens whose loss was clipped.

        V_clip = clip(V, V_old - cliprange_value, V_old + cliprange_value)
        loss = 1/2 max((V - R)^2, (V_clip - R)^2)

    As in PPO's published code (openai/baselines), PRIME's and verl's; arXiv 1707.06347 itself has
    the plain square (Eq. 9). A value that has moved further than the clip gives no gradient unless
    it has moved away from its return.
    """
    values, old_values, returns = (only(numbers, mask) for numbers in (values, old_values, returns))
    # Around the values that the advantages were computed from, for the same reason as the policy's
    # clip: several steps use the same batch.
    bounded = values.clamp(old_values - cliprange_value, old_values + cliprange_value)
    plain, clipped = (values - returns).square(), (bounded - returns).square()
    return torch.maximum(plain, clipped) / 2, clipped > plain


def explained_variance(
    values: Float[Tensor, "B T"], returns: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> float | None:
    """Share of the returns' variance that the values explain: 1: all, 0: no more than a constant.

        1 - var(R - V) / var(R)

    Negative where the values are worse than a constant; None where all returns are equal.
    """
    # A float64 sum of equal float32 numbers is exact, so equal returns have a spread of exactly 0
    # and may be compared with it.
    spread = float(masked_var(returns.double(), mask, bessel=False))
    if spread == 0:
        return None
    left = float(masked_var(returns.double() - values.double(), mask, bessel=False))
    return 1 - left / spread
