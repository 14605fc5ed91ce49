"""AdamW and gradient clipping, a part of the sections `sft`, `prm` and `policy`."""

from __future__ import annotations

from pydantic import Field

from prime_core.settings.section import Section


class Optimizer(Section):
    """AdamW and gradient clipping: one trained model's own settings derive from it."""

    learning_rate: float = Field(1e-5, gt=0, description="Peak rate.")
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[float, float] = Field((0.9, 0.999))
    grad_clip: float = Field(1.0, gt=0, description="Largest gradient norm.")
