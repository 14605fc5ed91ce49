"""Sequences concatenated in one row, without padding: their layout and their attention.

In: B sequences of N tokens in all. Out: a row [1, N] whose positions restart with each sequence,
and an attention in which no sequence sees another. Flash attention takes the lengths as they are;
without it sequences of similar lengths share one call of torch's fused attention, after which their
padding is discarded (a causal query never sees what is to its right), so that neither a mask of
[N, N] nor one call per sequence is needed.

docs/decisions.md#packed-passes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from prime_core.training.batches import Sequences, response_mask

# Pairs of tokens that a call may compute in vain: about the cost of another call.
WASTED_PAIRS = 2**14
WASTED_SHARE = 0.25  # of a call's pairs, where that is more
PACKED = "packed_sdpa"  # its name among transformers' attention functions


@dataclass(frozen=True)
class Group:
    """Neighbouring sequences of a pack that share a call.

    spread: [rows * longest], where in the pack each position of the padded rows comes from. back:
    where in the padded rows each token of the group lies. Both None for rows of equal length.
    """

    start: int
    stop: int
    rows: int
    spread: Int[Tensor, " P"] | None
    back: Int[Tensor, " S"] | None

    def rows_of(self, pack: Float[Tensor, "N heads D"]) -> Float[Tensor, "rows heads longest D"]:
        """The group's tokens, one row per sequence."""
        if self.spread is None:
            # A view: rows of one length need no copy.
            tokens = pack[self.start : self.stop]
        else:
            tokens = pack.index_select(0, self.spread)
        return tokens.unflatten(0, (self.rows, -1)).transpose(1, 2)

    def pack_of(self, rows: Float[Tensor, "rows longest heads D"]) -> Float[Tensor, "S heads D"]:
        """The rows' tokens as they are in the pack, without padding."""
        tokens = rows.flatten(0, 1)
        return tokens if self.back is None else tokens.index_select(0, self.back)


@dataclass(frozen=True)
class Packed:
    """B sequences in one row of N tokens, M of which are responses'.

    predictor_index: [M], position of the token before each response token, which predicts it.
    targets: [M], the response tokens. mask: [B, T], True where a response has a token.
    """

    input_ids: Int[Tensor, "1 N"]
    position_ids: Int[Tensor, "1 N"]
    lengths: tuple[int, ...]
    predictor_index: Int[Tensor, " M"]
    targets: Int[Tensor, " M"]
    mask: Bool[Tensor, "B T"]

    @cached_property
    def groups(self) -> list[Group]:
        """The calls of `packed_attention`."""
        return _groups(self.lengths, self.input_ids.device)

    def attention_arguments(self, implementation: str) -> dict[str, Any]:
        """What a transformers model with this attention needs to keep the sequences separate."""
        if implementation == PACKED:
            # transformers passes on a mask of four dimensions unchanged, and builds none itself
            no_mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.input_ids.device)
            return {"attention_mask": no_mask, "groups": self.groups}
        # flash attention reads offsets as int32.
        ends = torch.tensor([0, *self.lengths], device=self.input_ids.device).cumsum(0)
        bounds, longest = ends.to(torch.int32), max(self.lengths)
        return {
            "attention_mask": None,
            **{"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds},
            **{"max_length_q": longest, "max_length_k": longest},
        }


def pack(sequences: Sequences, device: torch.device) -> Packed:
    """The sequences in their order. Attention is fastest where neighbours have similar lengths."""
    tokens: list[int] = []
    positions: list[int] = []
    predictor_index: list[int] = []
    targets: list[int] = []
    for prompt, response in zip(sequences.prompts, sequences.responses, strict=True):
        first = len(tokens) + len(prompt)
        tokens += [*prompt, *response]
        # Restarted, so that each sequence has the rotary positions that it has alone.
        positions += range(len(prompt) + len(response))
        predictor_index += range(first - 1, first + len(response) - 1)
        targets += response
    ids, restarting, before, after = (
        torch.tensor(numbers, device=device)
        for numbers in (tokens, positions, predictor_index, targets)
    )
    return Packed(
        input_ids=ids[None],
        position_ids=restarting[None],
        lengths=tuple(sequences.lengths),
        predictor_index=before,
        targets=after,
        mask=response_mask(sequences, device),
    )


def packed_attention(
    module: nn.Module,
    query: Float[Tensor, "1 heads N D"],
    key: Float[Tensor, "1 kv_heads N D"],
    value: Float[Tensor, "1 kv_heads N D"],
    attention_mask: Tensor | None,
    *,
    groups: Sequence[Group] | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Float[Tensor, "1 N heads D"], None]:
    """Causal attention within each sequence; without groups, torch's as transformers calls it.

    sliding_window: how many tokens a token sees, itself included.
    """
    how: Any = {"dropout": dropout, "scaling": scaling}
    # The model is called in the usual way, without a batch: by generate, for instance.
    if groups is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **how, **others)
    packs = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    attended = []
    for group in groups:
        q, k, v = (group.rows_of(pack) for pack in packs)
        # Without a mask transformers makes the call causal, and torch can use its fused kernels.
        mask = _window(q.shape[2], sliding_window, query.device)
        attended.append(group.pack_of(sdpa_attention_forward(module, q, k, v, mask, **how)[0]))
    # Groups are neighbours in the order of the pack, so joining them restores it.
    return (attended[0] if len(attended) == 1 else torch.cat(attended))[None], None


AttentionInterface.register(PACKED, packed_attention)
# For the usual calls: to an attention that is not registered here transformers gives no mask at
# all, and padding would be attended to.
AttentionMaskInterface.register(PACKED, sdpa_mask)


def _window(
    length: int, sliding_window: int | None, device: torch.device
) -> Bool[Tensor, "1 1 L L"] | None:
    """Mask of a causal window; None where it covers all tokens."""
    if sliding_window is None or length <= sliding_window:
        return None
    positions = torch.arange(length, device=device)
    behind = positions[:, None] - positions
    # Causal as well: given a mask, transformers no longer asks torch for a causal call.
    return ((behind >= 0) & (behind < sliding_window))[None, None]


def _groups(lengths: Sequence[int], device: torch.device) -> list[Group]:
    """Groups of neighbours, extended while their padding costs less than another call."""
    groups, start, first, pairs, longest = [], 0, 0, 0, 0
    for last, length in enumerate(lengths):
        wider, needed = max(longest, length), pairs + length**2
        # Attention computes every pair of a row's tokens; padding makes all rows the longest.
        wasted = (last + 1 - first) * wider**2 - needed
        if last > first and wasted > max(WASTED_PAIRS, WASTED_SHARE * needed):
            groups.append(_group(lengths[first:last], start, device))
            start, first = start + sum(lengths[first:last]), last
            wider, needed = length, length**2
        pairs, longest = needed, wider
    return [*groups, _group(lengths[first:], start, device)]


def _group(lengths: Sequence[int], start: int, device: torch.device) -> Group:
    stop, rows = start + sum(lengths), len(lengths)
    if min(lengths) == max(lengths):
        return Group(start, stop, rows, None, None)
    long, column = torch.tensor(lengths)[:, None], torch.arange(max(lengths))
    begin = start + long.cumsum(0) - long
    spread = begin + column.minimum(long - 1)  # padding repeats a row's last token
    back = (column < long).flatten().nonzero().flatten()
    return Group(start, stop, rows, spread.flatten().to(device), back.to(device))
