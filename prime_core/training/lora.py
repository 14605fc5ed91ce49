"""Low-rank adapters (LoRA, arXiv 2106.09685): small trained matrices beside frozen weights.

    y = x W^T + alpha / rank (x A^T) B^T        W [out, in] frozen, A [rank, in], B [out, rank]

A is random at first, from the run's seed, B zero. In: a model, the settings of one section. Out:
the model with adapters (library peft); for readers its weights with the adapters added, and the
adapters in peft's own format. W is the start model's at every iteration, never a merged one: what
is merged is rounded once, and rounding errors do not add up.

docs/decisions.md#adapters
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from prime_core.models.load import ModelError
from prime_core.run.seeds import derive_seed
from prime_core.settings.lora import ALL_LINEAR, Lora
from prime_core.settings.run import Settings

# In the folder of the merged weights. Directly beside them, transformers would add the adapter to
# them once more.
ADAPTER = "adapter"
_NAME = "default"  # peft's, of a model's only adapter


@dataclass(frozen=True)
class Adapter:
    """The adapter of one trained model.

    key: its section of the settings, for errors. start: folder of the frozen weights. seed: of A.
    """

    settings: Lora
    key: str
    start: Path
    seed: int


def adapter_of(lora: Lora | None, stage: str, start: Path, seed: int) -> Adapter | None:
    """The adapter that a stage trains, from the run's seed; None where it trains all weights."""
    if lora is None:
        return None
    return Adapter(lora, f"{stage}.lora", start, derive_seed(seed, stage, "lora"))


def add_adapter(model: PreTrainedModel, adapter: Adapter) -> None:
    """Freeze the model and put an untrained adapter into it, which changes nothing at first.

    Raises ModelError naming the key where the model has no such layers.
    """
    from peft import LoraConfig, inject_adapter_in_model  # it takes a second to import

    lora = adapter.settings
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=target_modules(model, lora, adapter.key),
        task_type="CAUSAL_LM",
        # relative to the run's folder, which may be moved
        base_model_name_or_path=str(Path(*adapter.start.parts[-2:])),
    )
    # A from its own seed, and the global stream restored: what is drawn from that later does not
    # depend on how many numbers an adapter has.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(adapter.seed)
        inject_adapter_in_model(config, model)


def target_modules(model: PreTrainedModel, lora: Lora, key: str) -> list[str]:
    """Names of layers that get an adapter. Raises ModelError naming the key and a wrong name."""
    output = model.get_output_embeddings()
    linear = {
        name
        for name, module in model.named_modules()
        # As in peft's "all-linear": a tied output layer cannot be merged into alone.
        if isinstance(module, nn.Linear) and module is not output
    }
    known = sorted({name.rpartition(".")[2] for name in linear})
    if lora.target_modules == ALL_LINEAR:
        return known
    wrong = [
        target
        for target in lora.target_modules
        # As peft does, by whole parts of a path: "proj" does not name "q_proj".
        if not any(f".{name}".endswith(f".{target}") for name in linear)
    ]
    if wrong:
        raise ModelError(
            f"{key}.target_modules: the model has no linear layer {', '.join(wrong)}; expected "
            f"'{ALL_LINEAR}' or some of {', '.join(known)}"
        )
    return sorted(lora.target_modules)


def check_targets(model: PreTrainedModel, settings: Settings) -> None:
    """Raise ModelError, naming the key, where a section `lora` does not suit the start model."""
    prm = settings.prm
    sections = {"sft.lora": settings.sft.lora, "policy.lora": settings.policy.lora}
    if prm.path is None:  # else it is another model
        sections["prm.lora"] = prm.lora
        sections["prm.offline.lora"] = prm.offline.lora if prm.offline else None
    for key, lora in sections.items():
        if lora is not None:
            target_modules(model, lora, key)


def has_adapter(model: nn.Module) -> bool:
    """Whether `add_adapter` was applied to the model."""
    return hasattr(model, "peft_config")


def merged_weights(model: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of an ordinary model that computes the same, by its names.

    weights: of the model with its adapter, whole. Sums and products are in float32 and rounded to
    the weights' own format once.
    """
    config = _config(model)
    scale = config.lora_alpha / config.r
    ordinary = {}
    for name, weight in weights.items():
        # peft puts the frozen layer, and its bias, under this name within its own.
        layer, is_adapted, kind = name.partition(".base_layer.")
        if is_adapted and kind == "weight":
            a, b = (weights[f"{layer}.lora_{part}.{_NAME}.weight"].float() for part in "AB")
            weight = (weight.float() + scale * (b @ a)).to(weight.dtype)
        if ".lora_" not in name:
            ordinary[f"{layer}.{kind}" if is_adapted else name] = weight
    return ordinary


def save_adapter(model: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    """Write the adapter alone, as peft.PeftModel.from_pretrained reads it."""
    from peft import get_peft_model_state_dict

    folder.mkdir()
    # peft's default asks the hub for the start model's configuration, to see whether the vocabulary
    # has grown.
    own = get_peft_model_state_dict(model, weights, _NAME, save_embedding_layers=False)
    # Names as in a PeftModel, which wraps the model twice; here adapters are inserted in place.
    named = {f"base_model.model.{name}": weight.contiguous() for name, weight in own.items()}
    save_file(named, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    # A copy: inference_mode is for readers, and this model may go on training.
    config = copy.copy(_config(model))
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules)  # a set, whose order differs each time
    config.save_pretrained(str(folder))


@contextmanager
def without_frozen(model: nn.Module) -> Iterator[None]:
    """Within, the model's state holds only what is trained.

    DeepSpeed's exclude_frozen_parameters would leave the second name of tied weights in it.
    """
    frozen = [
        name
        for name, weight in model.named_parameters(remove_duplicate=False)
        if not weight.requires_grad
    ]

    def drop(_model: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
        for name in frozen:
            state.pop(prefix + name, None)

    # A hook, since DeepSpeed calls state_dict itself and takes no list of names.
    handle = model.register_state_dict_post_hook(drop)
    try:
        yield
    finally:
        handle.remove()


def _config(model: nn.Module) -> Any:
    return model.peft_config[_NAME]  # type: ignore[index, union-attr]
