"""Random batches of turns: observations between the tokens of any batch."""

import torch
from torch import Tensor

from tests.support.batches import Batch


def places(batch: Batch, seed: int) -> Tensor:
    """[B, T]: where each token goes when observations of 0 to 2 tokens are put before it."""
    generator = torch.Generator().manual_seed(seed + 7)
    before = torch.randint(0, 3, batch.mask.shape, generator=generator)
    before[:, 0] = 0
    return torch.arange(batch.mask.shape[1]) + before.cumsum(1)


def spread(values: Tensor, where: Tensor, fill: float) -> Tensor:
    """The tokens' values at their new places, and `fill` between them."""
    wide = torch.full((len(values), int(where.max()) + 1), fill, dtype=values.dtype)
    return wide.scatter(1, where, values)


def turned(batch: Batch, seed: int) -> Batch:
    """The batch with observations, whose rewards are NaN."""
    where = places(batch, seed)
    mask = spread(batch.mask.float(), where, 0.0) > 0
    reward = spread(batch.reward, where, float("nan"))
    return Batch(batch.outcome, reward, mask, batch.group)
