"""How many parameters are trained where adapters (LoRA) extend frozen weights.

In: a shape, a section `lora` of the settings. Out: counts. The layers are those of Llama-style
decoders, as in `prime_core.planning.shapes`.
"""

from __future__ import annotations

from prime_core.planning.shapes import ModelShape, PlanError
from prime_core.settings.lora import ALL_LINEAR, Lora
from prime_core.settings.run import Settings


def adapter_parameters(shape: ModelShape, settings: Settings, stage: str) -> int:
    """Parameters of the adapters that a stage trains, rank (in + out) per matrix; 0 without.

    Raises PlanError naming the key and a layer that such a model does not have.
    """
    key, lora = _section(settings, stage)
    if lora is None:
        return 0
    layers = _linear_layers(shape)
    widths = sum(sum(layers[name]) for name in _targets(shape, lora, key))
    return shape.num_layers * lora.rank * widths


def adapter_width(shape: ModelShape, settings: Settings, stage: str) -> int:
    """Ranks of one layer's adapters, summed. Raises PlanError as `adapter_parameters`."""
    key, lora = _section(settings, stage)
    # Between its two matrices an adapter keeps `rank` numbers a token, whatever their widths.
    return lora.rank * len(_targets(shape, lora, key)) if lora else 0


def _section(settings: Settings, stage: str) -> tuple[str, Lora | None]:
    """Key and value of the stage's `lora`; None where it trains all weights."""
    offline = settings.prm.offline
    sections = {
        "sft": ("sft.lora", settings.sft.lora),
        "prm_offline": ("prm.offline.lora", offline.lora if offline else None),
        "prm": ("prm.lora", settings.prm.lora),
        "policy": ("policy.lora", settings.policy.lora),
    }
    # The value model has no adapters, and what runs forward only trains nothing.
    return sections.get(stage, (f"{stage}.lora", None))


def _targets(shape: ModelShape, lora: Lora, key: str) -> list[str]:
    """The matrices of a layer that get an adapter."""
    layers = _linear_layers(shape)
    if lora.target_modules == ALL_LINEAR:
        return list(layers)
    # As in training, a longer name (self_attn.q_proj) means the layers that end with it.
    names = sorted({name.rpartition(".")[2] for name in lora.target_modules})
    for name in names:
        if name not in layers:
            raise PlanError(
                f"{key}.target_modules: {name} is not a linear layer of the model; expected "
                f"'{ALL_LINEAR}' or some of {', '.join(layers)}"
            )
    return names


def _linear_layers(shape: ModelShape) -> dict[str, tuple[int, int]]:
    """Widths, in and out, of one layer's matrices."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    return {
        "down_proj": (inner, hidden),
        "gate_proj": (hidden, inner),
        "k_proj": (hidden, shape.kv_width),
        "o_proj": (shape.query_width, hidden),
        "q_proj": (hidden, shape.query_width),
        "up_proj": (hidden, inner),
        "v_proj": (hidden, shape.kv_width),
    }
