"""Which tokens of a batch end a step of their response."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from prime_core.models.load import load_tokenizer
from prime_core.steps import step_ends
from prime_core.training.learning_batch import LearningBatch
from prime_core.turns import turn_ends


def step_end_mask(batch: LearningBatch, folder: Path, boundary: str | None) -> Bool[Tensor, "B T"]:
    """True at the last token of every step.

    folder: of the model whose tokenizer is used; boundary: rollout.step_boundary.
    """
    ends = torch.zeros_like(batch.mask)
    for row, pieces in enumerate(token_pieces(batch, folder)):
        ends[row, : len(pieces)] = torch.as_tensor(step_ends(pieces, boundary))
    return ends


def token_pieces(batch: LearningBatch, folder: Path) -> Iterator[list[str]]:
    """Of each response the text of each token. folder: of the model whose tokenizer is used."""
    tokenizer = load_tokenizer(folder)
    for tokens in batch.sequences.responses:
        # Each token by itself, so that pieces and tokens correspond.
        yield tokenizer.batch_decode([[token] for token in tokens])


def state_ends(batch: LearningBatch, folder: Path, boundary: str | None) -> Bool[Tensor, "B T"]:
    """True where values are estimated next: at the ends of turns, or of steps where a response is
    one turn. folder, boundary: as of `step_end_mask`.
    """
    if "response_mask" in batch.rows:
        return turn_ends(batch.mask)
    return step_end_mask(batch, folder, boundary)


def reward_marks(
    granularity: str, batch: LearningBatch, folder: Path, boundary: str | None
) -> Bool[Tensor, "B T"] | None:
    """Last tokens of steps by prm.prime_granularity; None where every token has a reward.

    With `turn` nothing is marked: a turn always ends its last step. folder, boundary: as of
    `step_end_mask`.
    """
    if granularity == "token":
        return None
    if granularity == "step":
        return step_end_mask(batch, folder, boundary)
    return torch.zeros_like(batch.mask)
