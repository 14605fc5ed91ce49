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
    """Values of states, for policy.adv_estimator 'gae' (PPO) and prm.source; ignored otherwise."""

    source: Literal["model", "prm", "monte_carlo", "visits"] = Field(
        "model",
        description="model: a value model with a scalar head, trained beside the policy; prm: the "
        "implicit PRM's own log-odds of the prefix are the values, and its rewards are then not "
        "part of the returns (policy.process_coef is ignored); monte_carlo: the mean outcome of "
        "continuations from before each step (VinePPO), no model; visits: means over the batch's "
        "visits of a state (AgentPRM), for environments, where states repeat.",
    )
    gamma_visits: float = Field(
        0.95,
        gt=0,
        le=1,
        description="With visits: what an outcome, counted -1 to 1, fades by with each turn before "
        "the last. AgentPRM: 0.95.",
    )
    n_continuations: int = Field(
        9,
        ge=1,
        description="With monte_carlo, here or in prm.source: responses continued from each state "
        "between two steps, drawn as in rollout. VinePPO: 9.",
    )
    max_steps: int = Field(
        20,
        ge=1,
        description="States of a response that are continued, from the prompt on; those after "
        "them count as what the response came to. VinePPO: 20 (GSM8K: 25).",
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

    def draws_continuations(self, policy: Policy, prm: Prm) -> bool:
        """Whether values of steps are estimated by continuing responses."""
        of_values = policy.adv_estimator == "gae" and self.source == "monte_carlo"
        return of_values or prm.source == "monte_carlo"

    def check_with(self, policy: Policy, prm: Prm) -> None:
        """Raises ValueError where settings of these sections conflict."""
        if prm.source == "monte_carlo":
            _check_differences(policy, prm)
        if policy.adv_estimator != "gae":
            return
        if self.source == "prm":
            self._check_prm(policy, prm)
        elif self.source == "monte_carlo":
            self._check_monte_carlo(policy, prm)
        elif self.source == "visits":
            self._check_visits(policy, prm)
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

    def _check_monte_carlo(self, policy: Policy, prm: Prm) -> None:
        # A continuation's outcome is neither discounted nor shaped, and holds no process reward.
        if prm.prm_update != "none" and policy.combine == "returns":
            raise ValueError(
                "value.source 'monte_carlo' predicts outcomes alone: beside a PRM it needs "
                "policy.combine 'advantages', or prm.prm_update 'none'"
            )
        if policy.outcome_coef == 0:
            raise ValueError("value.source 'monte_carlo' with policy.outcome_coef 0 has no reward")
        if policy.gamma_outcome != 1:
            raise ValueError(
                "value.source 'monte_carlo' needs policy.gamma_outcome 1, as its values are means "
                f"of outcomes, got {policy.gamma_outcome}"
            )
        _refuse_overlong("value.source", policy)

    def _check_visits(self, policy: Policy, prm: Prm) -> None:
        if policy.gae_level != "step":
            raise ValueError(
                "value.source 'visits' has a value for each turn: policy.gae_level must be 'step'"
            )
        if policy.combine != "returns" or policy.process_coef != 1 or policy.gamma_outcome != 1:
            raise ValueError(
                "value.source 'visits' has the outcome in its values: policy.combine must be "
                "'returns', process_coef and gamma_outcome 1 (value.gamma_visits discounts)"
            )
        if prm.prm_update != "none":
            raise ValueError(
                "value.source 'visits' learns from outcomes alone: prm.prm_update must be 'none', "
                f"got '{prm.prm_update}'"
            )
        _refuse_overlong("value.source", policy, "visits")


def _check_differences(policy: Policy, prm: Prm) -> None:
    """Raises ValueError for settings beside which differences of values are no process rewards."""
    if prm.prm_update != "none":
        raise ValueError(
            "prm.source 'monte_carlo' gives process rewards without a PRM: prm.prm_update must be "
            f"'none', got '{prm.prm_update}'"
        )
    if policy.outcome_coef != 0:
        raise ValueError(
            "prm.source 'monte_carlo' gives rewards that add up to the outcome less the prompt's "
            f"value: policy.outcome_coef must be 0, got {policy.outcome_coef:g}, which would count "
            "the outcome twice"
        )
    if policy.adv_estimator == "gae":
        raise ValueError(
            "prm.source 'monte_carlo' with policy.adv_estimator 'gae' would subtract values twice; "
            "value.source 'monte_carlo' has the same values"
        )
    if policy.process_coef == 0:
        raise ValueError("prm.source 'monte_carlo' with policy.process_coef 0 leaves no reward")
    _refuse_overlong("prm.source", policy)


def _refuse_overlong(key: str, policy: Policy, source: str = "monte_carlo") -> None:
    if policy.overlong_buffer_len:
        raise ValueError(
            f"{key} '{source}' needs policy.overlong_buffer_len 0: its values are of outcomes as "
            "they were judged"
        )
