"""Settings of the process reward model (`prm`), one section of `prime_core.settings`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from prime_core.settings_lora import Lora
from prime_core.settings_optimizer import Optimizer
from prime_core.settings_section import CHANGEABLE, Section


class PrmOptimizer(Optimizer):
    """The PRM's: constant rate."""

    learning_rate: float = Field(1e-6, gt=0, description="Paper: 1e-6, constant.")
    grad_clip: float = Field(10.0, gt=0, description="Largest gradient norm. Paper: 10.")


class Prm(Section):
    """The implicit process reward model. Paper: beta 0.05, rate 1e-6, clip 10, updated online."""

    prm_update: Literal["after", "before", "frozen", "none"] = Field(
        "after",
        description="after: score the batch, then update; before: update, then score; frozen: "
        "never update; none: outcome rewards only.",
    )
    prm_reference: Literal["sft", "policy"] = Field(
        "sft",
        description="The reference of the log-ratio: the start model, or the sampling policy.",
    )
    path: str | None = Field(
        None, description="Folder or hub id of the first PRM; null: SFT model."
    )
    beta: float = Field(0.05, gt=0, description="Scale of the implicit reward. Paper: 0.05.")
    prime_granularity: Literal["token", "step", "whole"] = Field(
        "token",
        description="Reward every token, each step's last one, or the last one. Paper: token.",
    )
    prime_norm: Literal["none", "batch_norm"] = Field("none")
    eos_reward: bool = Field(True, description="false: the last token's reward is 0.")
    mini_batch_size: int = Field(256, ge=1, description="Responses an optimizer step. Paper: 256.")
    micro_batch_size: int = Field(8, ge=1, json_schema_extra=CHANGEABLE)
    epochs: int = Field(1, ge=1, description="Passes over the batch. Paper: 1.")
    optimizer: PrmOptimizer = Field(default_factory=PrmOptimizer)
    lora: Lora | None = Field(
        None, description="Low-rank adapters; null: all weights are trained, as in the paper."
    )
