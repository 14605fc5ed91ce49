"""Settings of the correction between sampler and trainer, a part of the section `policy`.

The mathematics is `prime_core.mismatch`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from prime_core.settings.section import CHANGEABLE, Section


class MismatchCorrection(Section):
    """Correction where trainer and sampler disagree on the probability of sampled tokens."""

    tis_clip: float = Field(
        0.0,
        ge=0,
        description="Truncated importance sampling: largest weight, 1 or above; 0: off.",
    )
    tis_level: Literal["token", "sequence"] = Field(
        "token", description="A weight per token, or one per response: its tokens' product."
    )
    rejection_level: Literal["none", "token", "sequence", "geometric"] = Field(
        "none",
        description="What is rejected if its probability ratio lies outside the bounds below: "
        "tokens, or responses by their tokens' product or geometric mean.",
    )
    rejection_low: float = Field(0.5, gt=0, le=1, description="Inclusive.")
    rejection_high: float = Field(2.0, ge=1, description="Inclusive.")
    # Changeable: it ends a run that goes wrong, and moves no weight of one that does not.
    max_mismatch_kl: float | None = Field(
        0.1,
        gt=0,
        description="Largest mean difference of log-probabilities between sampler and trainer, in "
        "nats a token (actor/mismatch_kl, either sign): beyond it the sampler has other weights or "
        "settings than the trainer, and the iteration ends. null: any.",
        json_schema_extra=CHANGEABLE,
    )

    @model_validator(mode="after")
    def _weights_up_to_one_stay(self) -> MismatchCorrection:
        # A cap below 1 would also shrink tokens on which sampler and trainer agree.
        if 0 < self.tis_clip < 1:
            raise ValueError(f"tis_clip must be 0 (off) or at least 1, got {self.tis_clip}")
        return self
