"""Settings of the values that PPO's advantages start from (`value`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from prime_core.settings.optimizer import Optimizer
from prime_core.settings.policy import Policy
from prime_core.settings.prm import Prm
from prime_core.settings.section import CHANGEABLE, Section


class ValueOptimizer(Optimizer):
    """The value model's optimizer: constant learning rate."""

    learning_rate: float = Field(
        1e-5, gt=0, description="Constant. Paper: not given; verl's default: 1e-5."
    )
    weight_decay: float = Field(0.01, ge=0, description="verl's default: 0.01.")


class Value(Section):
    """Values of states, for policy.adv_estimator 'gae' (PPO); ignored otherwise."""

    source: Literal["model", "prm"] = Field(
        "model",
        description="model: a value model with a scalar head, trained beside the policy; prm: the "
        "implicit PRM's own log-odds of the prefix are the values, and its rewards are then not "
        "part of the returns (policy.process_coef is ignored).",
    )
    prm_value: Literal["log_odds", "probability"] = Field(
        "log_odds",
        description="With source 'prm': the sum of the implicit rewards before a token (the "
        "paper's baseline, Sec. 5), or the logistic function of it, in units of the outcome.",
    )
    path: str | None = Field(
        None,
        description="Folder or hub id of the first value model, with or without a scalar head; "
        "null: SFT model. A new head starts at zero.",
    )
    # The paper gives no settings of its critic. docs/decisions.md#value-stages
    cliprange_value: float = Field(
        0.5,
        gt=0,
        description="How far a value may move from its old one before its loss is clipped; verl's "
        "default: 0.5.",
    )
    mini_batch_size: int = Field(256, ge=1, description="Responses per optimizer step. Paper: 256.")
    micro_batch_size: int = Field(8, ge=1, json_schema_extra=CHANGEABLE)
    epochs: int = Field(1, ge=1, description="Passes over the batch. Paper: 1.")
    optimizer: ValueOptimizer = Field(default_factory=ValueOptimizer)

    def check_with(self, policy: Policy, prm: Prm) -> None:
        """Raises ValueError where settings of these sections conflict."""
        if policy.adv_estimator != "gae":
            return
        if self.source == "prm":
            self._check_prm(policy, prm)
        elif (
            prm.prm_update != "none"
            and policy.combine == "returns"
            and policy.gamma_process != policy.gamma_outcome
        ):
            # One value model learns the sum of all rewards. docs/decisions.md#one-return
            raise ValueError(
                "policy.adv_estimator 'gae' has one discount for the sum of all rewards, but "
                f"policy.gamma_outcome is {policy.gamma_outcome} and policy.gamma_process "
                f"{policy.gamma_process}"
            )

    def _check_prm(self, policy: Policy, prm: Prm) -> None:
        if prm.prm_update == "none":
            raise ValueError("value.source 'prm' needs a PRM, but prm.prm_update is 'none'")
        if policy.outcome_coef == 0:
            raise ValueError("value.source 'prm' with policy.outcome_coef 0 leaves no reward")
        # Rewards that were moved or rescaled no longer add up to the log-odds of a prefix.
        # docs/decisions.md#prm-log-odds
        if prm.prime_granularity != "token" or prm.prime_norm != "none":
            raise ValueError(
                "value.source 'prm' adds up each token's own reward: prm.prime_granularity must be "
                f"'token' and prm.prime_norm 'none', got {prm.prime_granularity!r} and "
                f"{prm.prime_norm!r}"
            )
