"""Settings of low-rank adapters (`sft.lora`, `prm.offline.lora`, `prm.lora`, `policy.lora`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from prime_core.settings.section import Section

ALL_LINEAR = "all-linear"


class Lora(Section):
    """LoRA (arXiv 2106.09685): small matrices are trained beside frozen weights.

    Usual learning rates are about ten times those of full training. Paper: none, all weights are
    trained.
    """

    rank: int = Field(32, ge=1, description="Inner width of the two matrices.")
    alpha: int = Field(32, ge=1, description="Their product is scaled by alpha / rank.")
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="On an adapter's input, while it is trained. Above 0 the draws, and so the "
        "results, depend on ranks and micro batches.",
    )
    target_modules: Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        "all-linear",
        description="Linear layers that get an adapter, e.g. [q_proj, v_proj]; all-linear: all but "
        "the output layer.",
    )
