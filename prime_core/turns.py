"""Turns of a response: runs of tokens that the policy sampled, between observations.

In: the mask [B, T], True where the policy sampled a token. Out: which turn a token is of, and where
turns end. A response without observations is one turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import pad

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


def turn_ends(mask: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """True at the last token of each run of True."""
    return mask & ~pad(mask[:, 1:], (0, 1))


def turn_index(mask: Bool[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """The turn of each token, 0, 1, ... within its response; -1 at tokens of none."""
    begins = mask & ~pad(mask[:, :-1], (1, 0))
    return (begins.cumsum(1) - 1).masked_fill(~mask, -1)
