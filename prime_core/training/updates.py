"""Optimizer steps over minibatches: what SFT, the PRM update and the policy update share."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from prime_core.run.seeds import generator
from prime_core.training.batches import Sequences, minibatches
from prime_core.training.engine import Trainer
from prime_core.training.passes import Passes


def minibatch_plan(
    num_rows: int, size: int, epochs: int, seed: int, stage: str, iteration: int
) -> list[list[int]]:
    """The minibatches of one update, epoch after epoch, each a fresh partition of all rows."""
    return [
        rows
        for epoch in range(epochs)
        for rows in minibatches(num_rows, size, generator(seed, stage, iteration, epoch))
    ]


def step_on(
    trainer: Trainer,
    sequences: Sequences,
    rows: list[int],
    passes: Passes,
    loss_of: Callable[[list[int], bool], Tensor],
) -> float:
    """One optimizer step on a minibatch; returns the gradient norm.

    loss_of(rows, counted) is a pass's part of the minibatch's loss. Where this rank has no
    rows left it is asked for any row with counted False, and its loss weighs nothing: the ranks'
    collective operations have to meet.
    """

    def weighed(indices: list[int]) -> Tensor:
        counted = bool(indices)
        return loss_of(indices or rows[:1], counted) * counted

    return trainer.step(passes.of_rank(rows, sequences), weighed)


def rate_at(step: int, num_steps: int, warmup_ratio: float) -> float:
    """Factor on the peak rate: linear warm-up, then a half cosine down to 0."""
    num_warmup = round(num_steps * warmup_ratio)
    if step < num_warmup:
        return (step + 1) / num_warmup
    progress = (step - num_warmup) / max(num_steps - num_warmup, 1)
    return 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
