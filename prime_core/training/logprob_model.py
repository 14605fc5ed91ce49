"""Causal language models whose forward pass can return log-probabilities instead of logits.

In: a transformers model. Out: the same model; called with a batch it returns the log-probabilities
of the batch's response tokens, and their logits never exist all at once. This happens inside the
model, since DeepSpeed gathers weights (ZeRO-3) only for what runs within the module that it wraps.
Everything else, saving included, is the model's own.

docs/decisions.md#logprobs-in-model
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import is_flash_attn_2_available

from prime_core.logprobs import head_predictions
from prime_core.training.batches import Padded
from prime_core.training.packing import PACKED, Packed

# Families (config.model_type) whose layers keep packed sequences apart and whose logits are their
# output layer's. Others scale logits, mix sequences in a state, or have not been checked.
FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
Batch = Packed | Padded


class _PredictingHead:
    """What `give_logprobs` adds to the class of the output layer.

    Chunks are cut within one call: ZeRO-3 gathers the layer's weights once for all of them, and
    ranks with different numbers of chunks stay in step.
    """

    def forward(self: Any, hidden: Tensor, tokens: Tensor | None = None, **how: Any) -> Any:
        """Logits; with tokens, their log-probabilities and entropies."""
        if tokens is None:
            return super().forward(hidden)  # type: ignore[misc]
        # super(), not the layer itself: that would enter ZeRO-3's hooks once for each chunk.
        return head_predictions(super().forward, hidden, tokens, **how)  # type: ignore[misc]


class _GivesLogprobs:
    """What `give_logprobs` adds to a model's class."""

    gives_logprobs = True

    def forward(self: Any, *arguments: Any, batch: Batch | None = None, **named: Any) -> Any:
        """Without a batch: what the model returns. With one: log-probabilities [M] of its response
        tokens and entropies [M]; `named` is then how (prime_core.logprobs.head_predictions).
        """
        if batch is None:
            return super().forward(*arguments, **named)  # type: ignore[misc]
        # The backbone alone: the model's own forward pass would compute the logits of all tokens.
        # Without a cache of keys and values, since nothing is generated.
        states = self.base_model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            use_cache=False,
            **batch.attention_arguments(self.config._attn_implementation),
        ).last_hidden_state
        # Prompt tokens predict nothing that is needed: their logits are never computed.
        hidden = states.flatten(0, 1).index_select(0, batch.predictor_index)
        return self.get_output_embeddings()(hidden, batch.targets, **named)


def give_logprobs(model: PreTrainedModel) -> bool:
    """Make the model, in place, return log-probabilities of packed or padded batches.

    Returns False, and does nothing, for a family that is not known to allow it.
    """
    if getattr(model, "gives_logprobs", False):
        return True
    if model.config.model_type not in FAMILIES:
        return False
    model.set_attn_implementation(attention_for(model.device, model.dtype))
    add_to_class(_PredictingHead, model.get_output_embeddings())
    add_to_class(_GivesLogprobs, model)
    return True


def add_to_class(part: type, module: Any) -> None:
    """Mix a class into the module's own, for this module alone.

    As torch's fully_shard does: no wrapper, so names of weights and saved folders stay.
    """
    kind = type(module)
    # With the old name, which transformers writes into config.json as the architecture to load.
    module.__class__ = type(kind.__name__, (part, kind), {"__module__": kind.__module__})


def attention_for(device: torch.device, dtype: torch.dtype) -> str:
    """Name of the attention: flash attention where it is installed and usable."""
    # flash attention has no kernels for float32.
    halves = dtype in (torch.bfloat16, torch.float16)
    if device.type == "cuda" and halves and is_flash_attn_2_available():
        return "flash_attention_2"
    return PACKED


def matrix(values: Tensor, batch: Batch) -> Tensor:
    """Numbers [M] of the response tokens as [B, T], 0 after a response's end."""
    # masked_scatter fills row by row, the order of `targets`, and passes gradients on.
    return values.new_zeros(batch.mask.shape).masked_scatter(batch.mask, values)
