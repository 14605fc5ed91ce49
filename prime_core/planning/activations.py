"""Bytes that a forward and backward pass keeps on a GPU, besides weights and gradients.

In: a shape and the tokens of one pass. Out: bytes. The counts are those of the models of
transformers with torch's fused attention; tests compare them with passes that were measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from prime_core.planning.shapes import ModelShape

FLOAT32 = 4
# Tokens whose logits are widened to float32 at a time (prime_core.logprobs.CHUNK_TOKENS).
WIDENED_TOKENS = 1024


@dataclass(frozen=True)
class Pass:
    """The largest pass of a stage on one rank.

    rows sequences of prompt_tokens and response_tokens; dtype_bytes of a number; checkpointing:
    layers are computed again in the backward pass; entropy: the policy's second use of the logits.
    """

    rows: int
    prompt_tokens: int
    response_tokens: int
    dtype_bytes: int
    checkpointing: bool = False
    entropy: bool = False

    @property
    def num_tokens(self) -> int:
        """All tokens of the pass."""
        return self.rows * (self.prompt_tokens + self.response_tokens)

    @property
    def is_padded(self) -> bool:
        """Whether sequences of different lengths are padded: attention then takes a mask."""
        return self.rows > 1


def kept_activations(shape: ModelShape, one_pass: Pass) -> int:
    """Bytes kept from the forward pass for the backward pass, logits left out."""
    ends = _norm_bytes(shape, one_pass) + 2 * shape.head_dim * one_pass.dtype_bytes
    if one_pass.checkpointing:
        layer = shape.hidden_size * one_pass.dtype_bytes  # its input alone
    else:
        layer = _layer_bytes(shape, one_pass)
    mask = one_pass.num_tokens // one_pass.rows if one_pass.is_padded else 0  # a byte a pair
    return one_pass.num_tokens * (shape.num_layers * layer + ends + mask * one_pass.checkpointing)


def logits_bytes(shape: ModelShape, one_pass: Pass) -> int:
    """Most bytes that logits take at a time, with their gradients and widened parts."""
    tokens = one_pass.rows * one_pass.response_tokens
    all_logits = one_pass.dtype_bytes * tokens * shape.vocab_size
    widened = FLOAT32 * min(tokens, WIDENED_TOKENS) * shape.vocab_size
    wide = one_pass.dtype_bytes == FLOAT32
    copies = 2.0 if wide else 3.5
    if not one_pass.entropy:
        return round(2 * all_logits + copies * widened)
    in_one_use = 2 * all_logits + (4.0 if wide else 4.5) * widened
    return round(max(in_one_use, 3 * all_logits + copies * widened))


def layer_at_work(shape: ModelShape, one_pass: Pass) -> int:
    """Bytes of one layer's backward pass: gradients, and what it computes again."""
    numbers = 2 * shape.intermediate_size + shape.hidden_size
    again = _layer_bytes(shape, one_pass) if one_pass.checkpointing else 0
    return one_pass.num_tokens * (numbers * one_pass.dtype_bytes + again)


def forward_bytes(shape: ModelShape, one_pass: Pass) -> int:
    """Most bytes of a pass without a backward pass: one layer, then the logits."""
    layer = 3 * shape.intermediate_size + 4 * shape.hidden_size
    one_layer = one_pass.num_tokens * layer * one_pass.dtype_bytes
    tokens = one_pass.rows * one_pass.response_tokens
    logits = one_pass.dtype_bytes * tokens * shape.vocab_size
    widened = FLOAT32 * min(tokens, WIDENED_TOKENS) * shape.vocab_size
    return max(one_layer, logits + max(logits, widened))


def _layer_bytes(shape: ModelShape, one_pass: Pass) -> int:
    """Of one token in one layer."""
    if one_pass.is_padded:  # keys and values are repeated for every head; the mask is kept
        attention = 4 * shape.query_width + one_pass.num_tokens // one_pass.rows
    else:
        attention = 2 * shape.query_width + 2 * shape.kv_width
    numbers = attention + 4 * shape.intermediate_size
    statistics = FLOAT32 * (shape.num_heads + 2)
    return 2 * _norm_bytes(shape, one_pass) + numbers * one_pass.dtype_bytes + statistics


def _norm_bytes(shape: ModelShape, one_pass: Pass) -> int:
    """A norm keeps its input in float32, the normalised input and its output."""
    return shape.hidden_size * (FLOAT32 + 2 * one_pass.dtype_bytes)
