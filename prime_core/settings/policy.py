"""Settings of advantages and the policy update: section `policy` of `prime_core.settings.run`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from prime_core.settings.lora import Lora
from prime_core.settings.mismatch import MismatchCorrection
from prime_core.settings.optimizer import Optimizer
from prime_core.settings.section import CHANGEABLE


class PolicyOptimizer(Optimizer):
    """The policy's optimizer: constant learning rate."""

    learning_rate: float = Field(5e-7, gt=0, description="Paper: 5e-7, constant.")
    weight_decay: float = Field(0.01, ge=0, description="Paper: 0.01.")


class Policy(MismatchCorrection):
    """Advantages and the policy update."""

    adv_estimator: Literal["rloo", "grpo", "dr_grpo", "reinforce", "reinforce_pp", "gae"] = Field(
        "rloo", description="gae: PPO's, from values (section value). Paper: rloo."
    )
    gae_lambda: float = Field(
        1.0,
        ge=0,
        le=1,
        description="With 'gae': how much later temporal differences count; 1: returns minus "
        "values, 0: each token's own difference alone. Paper: 1.",
    )
    baseline: Literal["paper", "code"] = Field(
        "code",
        description="Leave-one-out baseline of process rewards: Eq. 5, or the published code's.",
    )
    gamma_outcome: float = Field(1.0, gt=0, le=1, description="Discount. Paper: 1.")
    gamma_process: float = Field(1.0, gt=0, le=1, description="Discount. Paper: 1.")
    outcome_coef: float = Field(1.0, ge=0, description="Weight of outcome returns.")
    process_coef: float = Field(1.0, ge=0, description="Weight of process returns.")
    combine: Literal["returns", "advantages"] = Field("returns")
    whiten: bool = Field(True, description="Whiten advantages over the batch's tokens.")
    eps_clip: float = Field(0.2, gt=0, lt=1, description="Paper: 0.2.")
    eps_clip_high: float = Field(0.2, gt=0, description="For the upper bound. Paper: 0.2.")
    clip_ratio_c: float = Field(0.0, ge=0, description="Dual clip, above 1; 0: off.")
    loss_agg_mode: Literal[
        "token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"
    ] = Field("token-mean")
    entropy_coef: float = Field(0.0, ge=0, description="Paper: 0.")
    kl_coef: float = Field(0.0, ge=0, description="Weight of KL to the start model. Paper: 0.")
    kl_estimator: Literal["k1", "k2", "k3"] = Field("k3")
    ppo_mini_batch_size: int = Field(256, ge=1, description="Responses per step. Paper: 256.")
    # Changeable: a loss is a mean over its minibatch, however that is cut into passes.
    micro_batch_size: int = Field(8, ge=1, json_schema_extra=CHANGEABLE)
    ppo_epochs: int = Field(1, ge=1, description="Passes over the batch. Paper: 1.")
    optimizer: PolicyOptimizer = Field(default_factory=PolicyOptimizer)
    lora: Lora | None = Field(
        None, description="Low-rank adapters; null: all weights are trained, as in the paper."
    )

    @model_validator(mode="after")
    def _dual_clip_above_one(self) -> Policy:
        if 0 < self.clip_ratio_c <= 1:
            raise ValueError(f"clip_ratio_c must be 0 (off) or above 1, got {self.clip_ratio_c}")
        return self
