"""Responses as padded tensors, and the cutting of a batch into minibatches and micro batches.

A padded batch stands as [left padding | prompt | response | right padding], so that all responses
begin in the same column and their log-probabilities form a [B, T] matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Sequences:
    """Token ids of prompts and of their responses, row by row."""

    prompts: list[list[int]]
    responses: list[list[int]]

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: Sequence[int]) -> Sequences:
        """The given rows."""
        return Sequences([self.prompts[i] for i in rows], [self.responses[i] for i in rows])

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of prompt and response together."""
        return [len(p) + len(r) for p, r in zip(self.prompts, self.responses, strict=True)]


@dataclass(frozen=True)
class Padded:
    """A batch of B sequences; T is the longest response.

    input_ids, attention_mask, position_ids: [B, P + T], P the longest prompt.
    response_ids, mask: [B, T]; True where a response has a token.
    """

    input_ids: Int[Tensor, "B L"]
    attention_mask: Int[Tensor, "B L"]
    position_ids: Int[Tensor, "B L"]
    response_ids: Int[Tensor, "B T"]
    mask: Bool[Tensor, "B T"]


def pad(sequences: Sequences, pad_token_id: int, device: torch.device) -> Padded:
    """Padded tensors of the given sequences."""
    num_prompt = max(len(prompt) for prompt in sequences.prompts)
    num_response = max(len(response) for response in sequences.responses)
    ids = np.full((len(sequences), num_prompt + num_response), pad_token_id, dtype=np.int64)
    attention = np.zeros_like(ids)
    for row, (prompt, response) in enumerate(
        zip(sequences.prompts, sequences.responses, strict=True)
    ):
        begin, end = num_prompt - len(prompt), num_prompt + len(response)
        ids[row, begin:end] = [*prompt, *response]
        attention[row, begin:end] = 1
    input_ids = torch.from_numpy(ids).to(device)
    attention_mask = torch.from_numpy(attention).to(device)
    return Padded(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=(attention_mask.cumsum(1) - 1).clamp(min=0),
        response_ids=input_ids[:, num_prompt:],
        mask=attention_mask[:, num_prompt:].bool(),
    )


def pad_rows(rows: Sequence[Sequence[float]], length: int) -> Float[Tensor, "B T"]:
    """Ragged rows of numbers as a matrix, zeros behind."""
    matrix = np.zeros((len(rows), length), dtype=np.float32)
    for index, row in enumerate(rows):
        matrix[index, : len(row)] = row
    return torch.from_numpy(matrix)


def minibatches(num_rows: int, size: int, order: np.random.Generator) -> list[list[int]]:
    """A random partition of the rows into ceil(num_rows / size) parts of nearly equal size.

    Equal parts, since a small rest would weigh as much as a full minibatch in its own step.
    """
    parts = np.array_split(order.permutation(num_rows), math.ceil(num_rows / size))
    return [[int(row) for row in part] for part in parts]


def micro_batches(
    rows: Sequence[int], lengths: Sequence[int], size: int, rank: int = 0, world_size: int = 1
) -> list[list[int]]:
    """This rank's part of a minibatch, cut into passes of like lengths.

    Every rank gets the same number of passes, so that collective operations meet; a rank with
    nothing left gets empty ones.
    """
    by_length = sorted(rows, key=lambda row: (lengths[row], row))
    num_passes = math.ceil(math.ceil(len(by_length) / world_size) / size)
    mine = by_length[rank::world_size]
    return [mine[k * size : (k + 1) * size] for k in range(num_passes)]


def by_length(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """All rows in passes of like lengths, longest first: what does not fit fails at once."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    for start in range(0, len(order), size):
        yield order[start : start + size]
