"""Bytes that a forward and backward pass keeps on a GPU, besides weights and gradients.

In: a shape and the tokens of one pass. Out: bytes. The counts are those of transformers' models
with torch's fused attention; tests compare them with measured passes
(docs/decisions.md#plan-is-arithmetic).
"""

from __future__ import annotations

from dataclasses import dataclass

from prime_core.planning.shapes import ModelShape

FLOAT32 = 4
INDICES = 16  # two int64 for each response token: its position and its id


@dataclass(frozen=True)
class Pass:
    """The largest pass of a stage on one rank.

    rows: sequences of prompt_tokens and response_tokens; dtype_bytes: of a number; checkpointing:
    layers are recomputed in the backward pass; entropy: the policy's, beside log-probabilities;
    packed: without padding; chunk_tokens: response tokens whose logits exist at a time;
    adapter_width: summed ranks of a layer's adapters (LoRA), 0: all weights are trained.
    """

    rows: int
    prompt_tokens: int
    response_tokens: int
    dtype_bytes: int
    checkpointing: bool = False
    entropy: bool = False
    adapter_width: int = 0
    packed: bool = False
    chunk_tokens: int = 256

    @property
    def num_tokens(self) -> int:
        """All tokens of the pass."""
        return self.rows * (self.prompt_tokens + self.response_tokens)

    @property
    def num_predicted(self) -> int:
        """The response tokens among them."""
        return self.rows * self.response_tokens

    @property
    def is_padded(self) -> bool:
        """Whether sequences of different lengths are padded: attention then takes a mask."""
        return self.rows > 1 and not self.packed


def kept_activations(shape: ModelShape, one_pass: Pass) -> int:
    """Bytes kept from the forward pass for the backward pass, logits left out."""
    width = one_pass.dtype_bytes
    # Beside the last norm, cosines and sines of the positions, which all layers share. The norm's
    # output is not kept: picking the response tokens from it remembers indices alone.
    ends = _norm_bytes(shape, one_pass) + (2 * shape.head_dim - shape.hidden_size) * width
    its_input = shape.hidden_size * width
    layer = its_input if one_pass.checkpointing else _layer_bytes(shape, one_pass)
    # Recomputed layers need the boolean mask again, a byte a pair, and share it; otherwise each
    # keeps the copy that torch made of it (_layer_bytes).
    mask = one_pass.num_tokens // one_pass.rows if one_pass.is_padded else 0
    layers = shape.num_layers * layer + ends + mask * one_pass.checkpointing
    # The output layer's input; a value head takes it in float32.
    predicting = shape.hidden_size * (FLOAT32 if shape.scalar_head else width) + INDICES
    return one_pass.num_tokens * layers + one_pass.num_predicted * predicting


def kept_logits(shape: ModelShape, one_pass: Pass) -> int:
    """Bytes kept for the log-probabilities of a single chunk; several chunks are recomputed."""
    if one_pass.num_predicted > one_pass.chunk_tokens:
        return 0
    # Only log_softmax's result is saved, always in float32 (prime_core.logprobs).
    return FLOAT32 * one_pass.num_predicted * shape.num_outputs


def logits_bytes(shape: ModelShape, one_pass: Pass) -> int:
    """Peak bytes of the logits, of what is computed from them, and of their gradients."""
    width, tokens = one_pass.dtype_bytes, min(one_pass.num_predicted, one_pass.chunk_tokens)
    logits, wide = (number * tokens * shape.num_outputs for number in (width, FLOAT32))
    narrow = logits if width < FLOAT32 else 0  # beside their float32 copy
    # As prime_core.logprobs: in the backward pass log-probabilities and their gradient, with
    # entropy a third as large; autograd's own would hold five.
    chunk = (2 + one_pass.entropy) * wide + narrow
    # Autograd sums the chunks' gradients of the output layer in a buffer of its own, since the
    # weight's .grad gets them all at once.
    gradient = width * shape.num_outputs * shape.hidden_size  # of the output layer, by one chunk
    earlier = gradient if one_pass.num_predicted > one_pass.chunk_tokens else 0  # chunks' sum
    return earlier + max(chunk, logits + gradient)


def work_bytes(shape: ModelShape, one_pass: Pass) -> int:
    """Peak bytes beyond what is kept: of the logits, or of one layer's backward pass after them."""
    after = kept_logits(shape, one_pass) + layer_at_work(shape, one_pass)
    return max(logits_bytes(shape, one_pass), after)


def layer_at_work(shape: ModelShape, one_pass: Pass) -> int:
    """Bytes of one layer's backward pass: gradients, and what it recomputes."""
    # The feed-forward part is the widest: gradients of gate and up at once, and the residual's.
    numbers = 2 * shape.intermediate_size + shape.hidden_size
    # Too much by about a tenth with gradient checkpointing (docs/decisions.md#plan-is-arithmetic).
    again = _layer_bytes(shape, one_pass) if one_pass.checkpointing else 0
    return one_pass.num_tokens * (numbers * one_pass.dtype_bytes + again)


def forward_bytes(shape: ModelShape, one_pass: Pass) -> int:
    """Peak bytes of a forward-only pass: one layer's, or the logits'."""
    layer = 3 * shape.intermediate_size + 4 * shape.hidden_size
    one_layer = one_pass.num_tokens * layer * one_pass.dtype_bytes
    tokens = min(one_pass.num_predicted, one_pass.chunk_tokens)
    narrow = one_pass.dtype_bytes if one_pass.dtype_bytes < FLOAT32 else 0
    hidden = shape.hidden_size * one_pass.dtype_bytes
    # Nothing frees all tokens' states while those of the response tokens, a copy, go through the
    # output layer in chunks.
    states = one_pass.num_tokens * hidden + one_pass.num_predicted * hidden
    # Logits, their float32 copy and log_softmax's result exist together; of float32 logits there is
    # no copy.
    return max(one_layer, states + tokens * shape.num_outputs * (2 * FLOAT32 + narrow))


def _layer_bytes(shape: ModelShape, one_pass: Pass) -> int:
    """Bytes kept of one token in one layer."""
    # With a mask torch's fused attention takes no grouped heads, so transformers repeats keys and
    # values; and torch turns the boolean mask into numbers, anew in each layer.
    if one_pass.is_padded:
        attention = 4 * shape.query_width + one_pass.num_tokens // one_pass.rows
    # A single sequence needs no copy of attention's output; several are copied back into the pack.
    elif one_pass.rows > 1:
        attention = 3 * shape.query_width + 2 * shape.kv_width
    else:
        attention = 2 * shape.query_width + 2 * shape.kv_width
    # Gate, its activation, up, and their product, which down takes.
    numbers = attention + 4 * shape.intermediate_size + one_pass.adapter_width
    # Fused attention keeps a log-sum-exp per head instead of weights, each norm its scale.
    statistics = FLOAT32 * (shape.num_heads + 2)
    return 2 * _norm_bytes(shape, one_pass) + numbers * one_pass.dtype_bytes + statistics


def _norm_bytes(shape: ModelShape, one_pass: Pass) -> int:
    """A norm keeps its input in float32, its output, and, unless its weight is frozen, the
    normalised input.
    """
    kept = 1 if one_pass.adapter_width else 2
    return shape.hidden_size * (FLOAT32 + kept * one_pass.dtype_bytes)
