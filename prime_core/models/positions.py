"""Whether a run's lengths fit into a model's positions.

In: a model's configuration, settings. A sequence beyond the positions is computed by most models
without an error, and wrongly.

docs/decisions.md#lengths-fit
"""

from __future__ import annotations

from pathlib import Path

from transformers import PretrainedConfig

from prime_core.models.load import ModelError, load_config
from prime_core.settings.run import Settings

_STRETCHED = ("linear", "dynamic", "yarn")


def max_positions(config: PretrainedConfig) -> int | None:
    """Tokens of the longest sequence that the model has positions for; None: no limit.

    Where rotary positions are stretched, their factor counts, as in vLLM.
    """
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    rotary = getattr(text, "rope_parameters", None) or {}
    if positions is None or rotary.get("rope_type") not in _STRETCHED:
        return positions
    original = rotary.get("original_max_position_embeddings") or positions
    return max(positions, int(original * (rotary.get("factor") or 1.0)))


def check_lengths(folder: Path, settings: Settings, model: str) -> None:
    """Raise ModelError where prompts and responses of the run exceed the model's positions.

    model: how the error names it, e.g. its setting. Evaluations end where the positions do
    (docs/decisions.md#evaluation-positions).
    """
    positions = max_positions(load_config(folder))
    if positions is None:
        return
    prompt = settings.data.max_prompt_length
    asked = f"data.max_prompt_length {prompt} and "
    response = settings.rollout.max_response_length
    lengths = {f"{asked}rollout.max_response_length {response} together": prompt + response}
    if difficulty := settings.data.difficulty:
        response = difficulty.max_response_length
        key = f"{asked}data.difficulty.max_response_length {response} together"
        lengths[key] = prompt + response
    if settings.sft.enabled:
        lengths[f"sft.max_length {settings.sft.max_length}"] = settings.sft.max_length
    if offline := settings.prm.offline:
        lengths[f"prm.offline.max_length {offline.max_length}"] = offline.max_length
    for words, length in lengths.items():
        if length > positions:
            raise ModelError(
                f"{words} exceed the {positions} positions of {model}; expected lengths that fit, "
                "or a model with more"
            )
