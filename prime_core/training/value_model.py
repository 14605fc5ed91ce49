"""PPO's value model: the backbone of a causal LM with one number per token instead of logits.

In: a folder of a causal LM, whose output layer is ignored, or of a value model. Out: a transformers
model (AutoModelForTokenClassification with one label, which also loads what is saved); called with
a batch it returns V(s_t) of the state before each response token, packed or padded. A new head is
zero, so that a first value model predicts 0 everywhere, whatever the seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import AutoModelForTokenClassification, PreTrainedModel

from prime_core.models.load import ModelError, attention, device, first_line, load_config
from prime_core.storage import node_cache
from prime_core.training.logprob_model import (
    FAMILIES,
    Batch,
    add_to_class,
    attention_for,
    matrix,
)

_HEADS = ("score", "classifier")  # what families call the layer


class _ValueHead:
    """What `give_values` adds to the class of the head: numbers in float32.

    For a bfloat16 model too, where a value would otherwise have two digits. The weights are read
    within the layer's own call, for which ZeRO-3 gathers them.
    """

    def forward(self: Any, hidden: Tensor) -> Tensor:
        """One float32 number per token."""
        bias = None if self.bias is None else self.bias.float()
        return linear(hidden.float(), self.weight.float(), bias).squeeze(-1)


class _GivesValues:
    """What `give_values` adds to a model's class."""

    gives_values = True

    def forward(self: Any, *arguments: Any, batch: Batch | None = None, **named: Any) -> Any:
        """Without a batch: what the model returns. With one: values [M] of the states before its
        response tokens.
        """
        if batch is None:
            return super().forward(*arguments, **named)  # type: ignore[misc]
        states = self.base_model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            use_cache=False,
            **batch.attention_arguments(self.config._attn_implementation),
        ).last_hidden_state
        return _head(self)(states.flatten(0, 1).index_select(0, batch.predictor_index))


def load_value_model(path: str | Path, dtype: str) -> PreTrainedModel:
    """The value model of a folder or hub id, in evaluation mode; a head that it lacks is zero.

    Raises ModelError naming the path.
    """
    try:
        with node_cache.cached_copy(path) as source:
            config = load_config(source)
            config.num_labels = 1  # whatever the folder's own head has
            config.classifier_dropout = 0.0  # values must come from the network that is trained
            loaded: Any = AutoModelForTokenClassification.from_pretrained(
                source,
                config=config,
                dtype=getattr(torch, dtype),
                output_loading_info=True,
                attn_implementation=attention(config),
                trust_remote_code=False,
            )
        model, loading = loaded
        head = _head(model)
        # A head may be missing, since any causal LM can be a start; for other weights transformers
        # would continue with random ones.
        missing = {name for name in loading["missing_keys"] if name.split(".")[0] not in _HEADS}
        if missing:
            raise ValueError(f"weights {sorted(missing)[:3]} are missing")
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{path}: not usable as a value model: {first_line(error)}"
            if Path(path).exists()
            else f"{path}: no such folder; expected a Hugging Face model"
        ) from None
    # transformers initialises a head at random; with zeros the first advantages are REINFORCE's.
    # docs/decisions.md#value-stages
    if loading["missing_keys"]:
        for weights in head.parameters():
            nn.init.zeros_(weights)
    give_values(model)
    return model.to(device()).eval()


def give_values(model: PreTrainedModel) -> bool:
    """Make the model, in place, return values of batches; whether these may be packed."""
    packs = model.config.model_type in FAMILIES
    # Trainer calls this for a model that load_value_model has changed already: it wants the answer
    # alone.
    if not gives_values(model):
        if packs:
            model.set_attn_implementation(attention_for(model.device, model.dtype))
        add_to_class(_ValueHead, _head(model))
        add_to_class(_GivesValues, model)
    return packs


def gives_values(model: Any) -> bool:
    """Whether `give_values` was applied, so that the model is not a language model."""
    return bool(getattr(model, "gives_values", False))


def state_values(model: Any, batch: Batch) -> Float[Tensor, "B T"]:
    """V(s_t) of the state before each response token, 0 after the response's end."""
    return matrix(model(batch=batch), batch)


def _head(model: Any) -> nn.Linear:
    """Raises ValueError where the family has no such layer."""
    for name in _HEADS:
        if isinstance(layer := getattr(model, name, None), nn.Linear):
            return layer
    raise ValueError(f"{type(model).__name__} has no linear head ({', '.join(_HEADS)})")
