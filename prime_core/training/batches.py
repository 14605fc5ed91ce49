"""Responses as padded tensors, and how a batch is split into minibatches and passes.

A padded batch is laid out as [left padding | prompt | response | right padding], so that all
responses begin in the same column and their log-probabilities form a [B, T] matrix. A pass is what
goes through the model at once (a micro batch); prime_core.training.packing is without padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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

    @property
    def predictor_index(self) -> Int[Tensor, " M"]:
        """Position, in the flattened rows, of the token before each response token."""
        width, first = self.input_ids.shape[1], self.input_ids.shape[1] - self.mask.shape[1]
        # nonzero goes row by row, as `targets` does: entry m of both is the same token.
        rows, columns = self.mask.nonzero(as_tuple=True)
        return rows * width + first + columns - 1

    @property
    def targets(self) -> Int[Tensor, " M"]:
        """The response tokens, row after row."""
        return self.response_ids[self.mask]

    def attention_arguments(self, _implementation: str) -> dict[str, Any]:
        """What a transformers model needs to ignore the padding."""
        return {"attention_mask": self.attention_mask}


def pad(sequences: Sequences, pad_token_id: int, device: torch.device) -> Padded:
    """Padded tensors of the given sequences."""
    # Widths are those of this pass alone: with the whole batch's, every pass would be as slow as
    # the one with the longest sequence.
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
        # From each row's own first token on, as when it stands alone; padding is masked anyway.
        position_ids=(attention_mask.cumsum(1) - 1).clamp(min=0),
        response_ids=input_ids[:, num_prompt:],
        # From lengths, never from ids: padding may have the id of EOS, which is a token like others
        # in a response.
        mask=attention_mask[:, num_prompt:].bool(),
    )


def response_mask(sequences: Sequences, device: torch.device) -> Bool[Tensor, "B T"]:
    """True where a response has a token."""
    lengths = torch.tensor([len(response) for response in sequences.responses], device=device)
    return torch.arange(int(lengths.max()), device=device) < lengths[:, None]


def pad_rows(rows: Sequence[Sequence[float]], length: int) -> Float[Tensor, "B T"]:
    """Ragged rows of numbers as a matrix, padded with zeros on the right."""
    matrix = np.zeros((len(rows), length), dtype=np.float32)
    for index, row in enumerate(rows):
        matrix[index, : len(row)] = row
    return torch.from_numpy(matrix)


def minibatches(num_rows: int, size: int, order: np.random.Generator) -> list[list[int]]:
    """A random partition of the rows into ceil(num_rows / size) parts of nearly equal size.

    Equal parts, since a small rest would weigh as much as a full minibatch in its own step.
    docs/decisions.md#equal-minibatches
    """
    # Rounded up: no part is larger than `size`, and no row is dropped.
    parts = np.array_split(order.permutation(num_rows), math.ceil(num_rows / size))
    return [[int(row) for row in part] for part in parts]


def group_minibatches(
    group: Sequence[int], size: int, order: np.random.Generator
) -> list[list[int]]:
    """Like `minibatches`, of whole groups: parts differ by one group at most.

    group: of each row, numbers from 0 on.
    """
    members: list[list[int]] = [[] for _ in range(max(group) + 1)]
    for row, number in enumerate(group):
        members[number].append(row)
    num_parts = math.ceil(len(group) / size)
    parts: list[list[int]] = [[] for _ in range(num_parts)]
    num_before = 0
    for number in order.permutation(len(members)):
        # A group goes where its first row would lie if rows were cut evenly, so parts stay nearly
        # equal although groups differ in size.
        parts[num_before * num_parts // len(group)] += members[int(number)]
        num_before += len(members[int(number)])
    # A group longer than a part spans the next one, which may then be empty.
    return [part for part in parts if part]


def share_among_ranks(
    rows: Sequence[int], lengths: Sequence[int], num_parts: int
) -> list[list[int]]:
    """The rows in parts of nearly as many tokens, each from the longest to the shortest.

    Parts differ by at most one row, and by no more tokens than the longest row has: rows are dealt
    in rounds, the longest of a round to the part with the fewest tokens.
    docs/decisions.md#dealing-to-ranks
    """
    parts: list[list[int]] = [[] for _ in range(num_parts)]
    tokens = [0] * num_parts
    # Ties are broken by number, here and below: each rank computes the split by itself, and all of
    # them must find the same one.
    order = sorted(rows, key=lambda row: (-lengths[row], row))
    for start in range(0, len(order), num_parts):
        turns = sorted(range(num_parts), key=lambda part: (tokens[part], part))
        for row, part in zip(order[start : start + num_parts], turns, strict=False):
            parts[part].append(row)
            tokens[part] += lengths[row]
    return parts


def cut_into_passes(
    rows: Sequence[int], lengths: Sequence[int], most_rows: int, most_tokens: int | None = None
) -> list[list[int]]:
    """Rows in passes of similar lengths, longest first: what does not fit fails at once.

    A pass has `most_rows` rows or, if `most_tokens` is given, at most so many tokens, whatever the
    number of rows (a longer row gets its own pass).
    """
    passes: list[list[int]] = []
    tokens = 0
    # Sorted, since a padded pass costs its number of rows times its longest one.
    for row in sorted(rows, key=lambda row: (-lengths[row], row)):
        tokens += lengths[row]
        too_long = tokens > most_tokens if most_tokens else passes and len(passes[-1]) == most_rows
        if not passes or too_long:
            passes.append([])
            tokens = lengths[row]
        passes[-1].append(row)
    return passes


def micro_batches(
    rows: Sequence[int],
    lengths: Sequence[int],
    most_rows: int,
    most_tokens: int | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> list[list[int]]:
    """This rank's part of a minibatch, cut into passes.

    Every rank gets the same number of passes, so that collective operations match; a rank with no
    rows left gets empty ones.
    """
    # Every rank's passes, though only one's are used: so the largest number of them is known
    # without communication.
    ranks = [
        cut_into_passes(part, lengths, most_rows, most_tokens)
        for part in share_among_ranks(rows, lengths, world_size)
    ]
    num_passes = max(len(passes) for passes in ranks)
    return [*ranks[rank], *([] for _ in range(num_passes - len(ranks[rank])))]
