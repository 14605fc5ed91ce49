"""Turns of a response: runs of tokens that the policy sampled, between observations.

In: the mask [B, T], True where the policy sampled a token. Out: which turn a token is of, sums over
turns, and discounted sums in which observations take no time. A response without observations is
one turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from prime_core.masked import discounted_returns, only

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

DISCOUNT_UNITS = ("token", "turn")


def turn_ends(mask: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """True at the last token of each turn."""
    return mask & ~pad(mask[:, 1:], (0, 1))


def turn_index(mask: Bool[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """The turn of each token, 0, 1, ... within its response; -1 at tokens of none."""
    begins = mask & ~pad(mask[:, :-1], (1, 0))
    return (begins.cumsum(1) - 1).masked_fill(~mask, -1)


def turn_sums(values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B N"]:
    """Sum over each turn's tokens, N the most turns of a response; 0 behind the last."""
    turn, values = turn_index(mask).clamp(min=0), only(values, mask)
    sums = values.new_zeros(len(values), int(turn.max()) + 1)
    return sums.scatter_add(1, turn, values)  # tokens of no turn hold 0


def at_turns(values: Float[Tensor, "B N"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Each turn's value at all its tokens; 0 at tokens of no turn."""
    return only(values.gather(1, turn_index(mask).clamp(min=0)), mask)


def sampled_first(mask: Bool[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """The order of each row's positions that puts its sampled tokens first, in their order."""
    return (~mask).to(torch.int8).argsort(dim=1, stable=True)


def put_back(values: Float[Tensor, "B T"], order: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Undoes gather(1, order)."""
    return torch.zeros_like(values).scatter(1, order, values)


def discounted_over(
    rewards: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], gamma: float, discount_unit: str
) -> Float[Tensor, "B T"]:
    """Discounted sum of the rewards from each sampled token on; 0 at other tokens.

        R_t = sum_{s >= t} gamma^(time_s - time_t) r_s

    Time counts sampled tokens ('token') or turns ('turn'), so an observation, however long, does
    not push an outcome away. Returns are not reset at observations. Raises ValueError for another
    discount_unit.
    """
    if discount_unit not in DISCOUNT_UNITS:
        raise ValueError(f"discount_unit must be in {DISCOUNT_UNITS}, got {discount_unit!r}")
    rewards = only(rewards, mask)
    if gamma == 1:  # no time passes
        return only(discounted_returns(rewards, gamma), mask)
    if discount_unit == "token":
        # With the tokens side by side; where nothing lies between them this moves nothing.
        order = sampled_first(mask)
        return only(put_back(discounted_returns(rewards.gather(1, order), gamma), order), mask)
    sums = turn_sums(rewards, mask)
    # Within a turn no time passes: the rest of it, and what the turns after it are worth.
    later = pad(discounted_returns(sums, gamma)[:, 1:], (0, 1)) * gamma
    undiscounted_later = pad(discounted_returns(sums, 1.0)[:, 1:], (0, 1))
    return only(discounted_returns(rewards, 1.0) + at_turns(later - undiscounted_later, mask), mask)
