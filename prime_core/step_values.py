"""Values of the states between the steps of a response, from continuations (arXiv 2410.01679).

In: Monte-Carlo estimates of V_k, the outcome expected before step k, one column a step [B, T] and
NaN where there is none; the reward of each step; the mask and the step ends of `masked.steps_of`.
Out: complete values, values of tokens, process rewards. The state after a response is worth 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prime_core.gae import step_gae
from prime_core.masked import last_token, only, steps_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def filled(
    step_values: Float[Tensor, "B T"], step_rewards: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Values with those that are NaN filled from the end (VinePPO's published code).

        V_k = r_k + V_{k+1} where no estimate is known; V = 0 behind the last column

    So the states behind the last one that was asked are worth what the response came to, and their
    steps get no advantage. Behind a row's steps both are to be 0.
    """
    columns = []
    later = torch.zeros_like(step_values[:, 0])
    for values, rewards in zip(
        reversed(step_values.unbind(1)), reversed(step_rewards.unbind(1)), strict=True
    ):
        later = torch.where(values.isnan(), rewards + later, values)
        columns.append(later)
    return torch.stack(columns[::-1], 1)


def token_values(
    step_values: Float[Tensor, "B T"],
    outcome: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    step_ends: Bool[Tensor, "B T"],
) -> Float[Tensor, "B T"]:
    """`filled` values at tokens: V_k at every token of step k, the outcome as the only reward."""
    numbers, ends = steps_of(mask, step_ends)
    columns = torch.arange(mask.shape[1], device=mask.device)
    num_steps = ends.sum(1, keepdim=True)
    own = step_values.masked_fill(columns >= num_steps, 0.0)
    complete = filled(own, outcome[:, None] * (columns == num_steps - 1))
    return only(complete.gather(1, numbers), mask)


def value_differences(
    step_values: Float[Tensor, "B T"],
    outcome: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    step_ends: Bool[Tensor, "B T"],
) -> Float[Tensor, "B T"]:
    """Process rewards: what each step changes the expected outcome by, at its last token.

        r_k = V_{k+1} - V_k, of the last step r_o - V_k         sum_k r_k = r_o - V_0

    They hold the outcome already, so it must not be added again (policy.outcome_coef 0).
    """
    values = token_values(step_values, outcome, mask, step_ends)
    rewards = outcome[:, None] * last_token(mask)
    differences, _ = step_gae(rewards, values, mask, step_ends, gamma=1.0, gae_lambda=0.0)
    return only(differences, steps_of(mask, step_ends)[1])
