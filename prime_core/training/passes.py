"""How sequences pass through a model: how many at a time, packed or padded, on this device."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from prime_core.models.load import device
from prime_core.settings.training import Training
from prime_core.training.batches import Sequences, micro_batches, pad
from prime_core.training.distributed import rank, world_size
from prime_core.training.logprob_model import Batch
from prime_core.training.packing import pack


@dataclass(frozen=True)
class Passes:
    """most_rows: sequences per pass; most_tokens: if given, tokens per pass instead. chunk_tokens:
    response tokens whose logits exist at a time. packing: without padding.
    """

    most_rows: int
    most_tokens: int | None
    packing: bool
    chunk_tokens: int
    pad_token_id: int
    device: torch.device

    def of_rank(self, rows: Sequence[int], sequences: Sequences) -> list[list[int]]:
        """This rank's passes over a minibatch; as many on every rank, the last may be empty."""
        ranks = rank(), world_size()
        return micro_batches(rows, sequences.lengths, self.most_rows, self.most_tokens, *ranks)

    def batch(self, sequences: Sequences) -> Batch:
        """The tensors of one pass."""
        if self.packing:
            return pack(sequences, self.device)
        return pad(sequences, self.pad_token_id, self.device)


def passes_of(
    training: Training, micro_batch_size: int, tokenizer: PreTrainedTokenizerBase, packs: bool
) -> Passes:
    """As the settings say. packs: whether the model can be given packed sequences."""
    # Padding is slower, not wrong, so it is noted and not refused.
    if training.packing and not packs and rank() == 0:
        print("a model of this family is not packed: its sequences are padded", file=sys.stderr)
    return Passes(
        most_rows=micro_batch_size,
        most_tokens=training.max_token_len_per_gpu,
        packing=training.packing and packs,
        chunk_tokens=training.logprobs_chunk_size,
        pad_token_id=int(tokenizer.pad_token_id),
        device=device(),
    )
