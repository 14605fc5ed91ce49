"""Settings of advantages and the policy update: section `policy` of `prime_core.settings.run`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from prime_core.settings.lora import Lora
from prime_core.settings.mismatch import MismatchCorrection
from prime_core.settings.optimizer import Optimizer
from prime_core.settings.rollout import Rollout
from prime_core.settings.section import CHANGEABLE


class PolicyOptimizer(Optimizer):
    """The policy's optimizer: constant learning rate."""

    learning_rate: float = Field(5e-7, gt=0, description="Paper: 5e-7, constant.")
    weight_decay: float = Field(0.01, ge=0, description="Paper: 0.01.")


class Policy(MismatchCorrection):
    """Advantages and the policy update."""

    adv_estimator: Literal[
        "rloo",
        "grpo",
        "dr_grpo",
        "reinforce",
        "reinforce_pp",
        "reinforce_pp_baseline",
        "opo",
        "remax",
        "gae",
        "gigpo",
        "treerl",
        "treerl_code",
        "tree_grpo",
        "tree_grpo_code",
    ] = Field(
        "rloo",
        description="gae: PPO's, from values (section value); reinforce_pp_baseline: the group's "
        "mean, then whitening, whatever `whiten`; opo: the group's mean by length; remax: "
        "the outcome of one more, greedy response to each prompt; gigpo: the group's mean, and "
        "turns of an environment compared with those in the same state; treerl, tree_grpo: of "
        "responses that fork (rollout.tree), by their papers or as their code computes them. "
        "Paper: rloo.",
    )
    tree_weight: Literal["sqrt", "uniform", "none"] = Field(
        "sqrt",
        description="With 'treerl': what the value of a node with L leaves is divided by, since "
        "its tokens are trained on L times: the root of L, L, or 1. TreeRL: sqrt.",
    )
    gae_lambda: float = Field(
        1.0,
        ge=0,
        le=1,
        description="With 'gae': how much later temporal differences count; 1: returns minus "
        "values, 0: each token's own difference alone. Paper: 1.",
    )
    gae_level: Literal["token", "step"] = Field(
        "token",
        description="With 'gae': temporal differences from token to token, or from step to step, "
        "a step's tokens sharing one advantage; gae_lambda 0 is then VinePPO's.",
    )
    baseline: Literal["paper", "code"] = Field(
        "code",
        description="Leave-one-out baseline of process rewards: Eq. 5, or the published code's.",
    )
    gamma_outcome: float = Field(1.0, gt=0, le=1, description="Discount. Paper: 1.")
    gamma_process: float = Field(1.0, gt=0, le=1, description="Discount. Paper: 1.")
    discount_unit: Literal["token", "turn"] = Field(
        "token",
        description="What a discount counts: sampled tokens, or turns. An environment's tokens "
        "take no time in either.",
    )
    outcome_coef: float = Field(1.0, ge=0, description="Weight of outcome returns.")
    process_coef: float = Field(1.0, ge=0, description="Weight of process returns.")
    combine: Literal["returns", "advantages"] = Field(
        "returns",
        description="returns: process rewards are centred and summed from each token on; "
        "advantages: each stands beside the outcome's advantage, not summed. Paper: returns.",
    )
    process_centre: Literal["none", "group", "first_turn"] = Field(
        "none",
        description="With combine 'advantages': process rewards as they are; or, as iStar's, "
        "centred like outcomes over all steps of the prompt's responses (group), or over each "
        "response's first step (first_turn, its published code), for all tokens of the step.",
    )
    gigpo_norm: Literal["mean", "mean_std"] = Field(
        "mean",
        description="With 'gigpo': outcomes and turns less their mean, or over their standard "
        "deviation as well.",
    )
    step_advantage_w: float = Field(
        1.0, ge=0, description="With 'gigpo': weight of the comparison of turns. GiGPO: 1."
    )
    gamma_turn: float = Field(
        0.95,
        gt=0,
        le=1,
        description="With 'gigpo': discount of an environment's rewards, by turns. GiGPO: 0.95.",
    )
    credit: Literal["sum", "min", "softmin"] = Field(
        "sum",
        description="What a token is credited with of the process rewards of later steps: their "
        "sum, the lowest (PURE), or a sum weighted towards the lowest. The last two need "
        "prm.prime_granularity step or turn. Paper: sum.",
    )
    whiten: bool = Field(True, description="Whiten advantages over the batch's tokens.")
    overlong_buffer_len: int = Field(
        0,
        ge=0,
        description="DAPO's overlong shaping: over this many last tokens before "
        "rollout.max_response_length the policy's outcome falls by overlong_penalty_factor; 0: "
        "off. Filter, PRM and accuracies keep the outcome itself.",
    )
    overlong_penalty_factor: float = Field(
        1.0, gt=0, description="What a response of full length loses."
    )
    mask_truncated: bool = Field(
        False,
        description="Responses cut at rollout.max_response_length stay in their group's "
        "statistics and leave the policy's loss.",
    )
    loss_mode: Literal["vanilla", "gspo", "cispo"] = Field(
        "vanilla",
        description="vanilla: PPO's clipped surrogate; gspo: a ratio per response, usual bounds "
        "3e-4 and 4e-4; cispo: the ratio's weight is clipped, not the loss. Paper: vanilla.",
    )
    eps_clip: float = Field(0.2, gt=0, lt=1, description="Paper: 0.2.")
    eps_clip_high: float = Field(0.2, gt=0, description="For the upper bound. Paper: 0.2.")
    clip_ratio_c: float = Field(0.0, ge=0, description="Dual clip, above 1; 0: off.")
    loss_agg_mode: Literal[
        "token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"
    ] = Field(
        "token-mean",
        description="What the loss is a mean over. Published script: over responses of their "
        "tokens' mean, since its passes are one response each.",
    )
    entropy_coef: float = Field(0.0, ge=0, description="Paper: 0.")
    kl_coef: float = Field(0.0, ge=0, description="Weight of KL to the start model. Paper: 0.")
    kl_estimator: Literal["k1", "k2", "k3"] = Field("k3", description="Of the loss.")
    kl_in_reward: bool = Field(
        False,
        description="The KL (k1) is taken out of the tokens' rewards instead of being added to the "
        "loss.",
    )
    kl_controller: Literal["fixed", "adaptive"] = Field(
        "fixed",
        description="adaptive: kl_coef is the first weight, and follows the batch's KL from one "
        "iteration to the next.",
    )
    target_kl: float = Field(
        0.1, gt=0, description="Of the adaptive controller: KL of a token, in nats. verl: 0.1."
    )
    kl_horizon: int = Field(
        10000, ge=1, description="Responses over which the adaptive weight follows."
    )
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

    @model_validator(mode="after")
    def _loss_has_its_bounds(self) -> Policy:
        if self.loss_mode != "vanilla" and self.clip_ratio_c:
            raise ValueError(
                f"loss_mode '{self.loss_mode}' has no dual clip: clip_ratio_c must be 0, got "
                f"{self.clip_ratio_c}"
            )
        if self.loss_mode != "gspo":
            return self
        # Its ratio belongs to a response; other sums would weigh responses by their length.
        if self.loss_agg_mode != "seq-mean-token-mean":
            raise ValueError(
                "loss_mode 'gspo' needs loss_agg_mode 'seq-mean-token-mean', got "
                f"'{self.loss_agg_mode}'"
            )
        widest = max(self.eps_clip, self.eps_clip_high)
        if widest >= 0.2:  # the default of PPO's token ratios
            raise ValueError(
                f"with eps_clip and eps_clip_high up to {widest} loss_mode 'gspo' never clips "
                "anything: a response's mean log-ratio is that small; usual are 3e-4 and 4e-4"
            )
        return self

    @model_validator(mode="after")
    def _kl_has_a_weight(self) -> Policy:
        used = [
            name
            for name, on in (
                ("kl_in_reward true", self.kl_in_reward),
                ("kl_controller 'adaptive'", self.kl_controller == "adaptive"),
            )
            if on
        ]
        if used and self.kl_coef == 0:
            raise ValueError(f"{used[0]} needs a kl_coef above 0: it is what the KL is weighed by")
        if self.kl_in_reward and self.adv_estimator == "gae":
            raise ValueError(
                "kl_in_reward is not offered with adv_estimator 'gae', whose value model learns "
                "from tables alone; kl_coef without it adds the KL to the loss"
            )
        if self.kl_in_reward and self.outcome_coef == 0:
            raise ValueError(
                "kl_in_reward takes the KL out of the outcome, and outcome_coef 0 leaves none"
            )
        return self

    @property
    def compares_with_greedy(self) -> bool:
        """Whether one more, greedy response to each prompt is sampled, as a baseline."""
        return self.adv_estimator == "remax"

    @property
    def batch_columns(self) -> tuple[str, ...]:
        """Optional columns of the batch that advantages are made of."""
        if self.adv_estimator == "gigpo":
            return ("turn_rewards", "states")
        if self.compares_within_trees:
            return ("parent", "fork")
        return ("greedy_outcome",) if self.compares_with_greedy else ()

    @property
    def compares_within_trees(self) -> bool:
        """Whether advantages are of responses that fork from one another."""
        return self.adv_estimator in ("treerl", "treerl_code", "tree_grpo", "tree_grpo_code")

    @property
    def outcome_estimator(self) -> str:
        """What centres outcomes, and process rewards beside them: a name in ADV_ESTIMATORS."""
        if self.adv_estimator != "gigpo":
            return self.adv_estimator
        return "grpo" if self.gigpo_norm == "mean_std" else "dr_grpo"

    def check_credit(self, granularity: str) -> None:
        """Raises ValueError for a credit or centre that has no steps to compare, or that something
        else sums.

        granularity: of the process rewards; "none" where there are none.
        """
        self._check_centre(granularity)
        if self.credit == "sum":
            return
        if granularity not in ("step", "turn"):
            raise ValueError(
                f"policy.credit '{self.credit}' compares steps: prm.prime_granularity must be "
                f"'step' or 'turn', got '{granularity}'"
            )
        if self.adv_estimator == "gae" or self.combine != "returns" or self.gamma_process != 1:
            raise ValueError(
                f"policy.credit '{self.credit}' needs an estimator other than 'gae', combine "
                "'returns' and gamma_process 1"
            )

    def _check_centre(self, granularity: str) -> None:
        if self.process_centre == "none":
            return
        name = f"policy.process_centre '{self.process_centre}'"
        if self.combine != "advantages":
            raise ValueError(
                f"{name} centres rewards that are not summed: policy.combine must be 'advantages', "
                f"got '{self.combine}'"
            )
        if granularity not in ("token", "step", "turn"):
            raise ValueError(
                f"{name} compares process rewards of steps: it needs prm.prm_update other than "
                "'none' and prm.prime_granularity 'turn', 'step' or 'token', got "
                f"'{granularity}'"
            )
        compares = ("rloo", "grpo", "dr_grpo", "reinforce_pp_baseline")
        if self.adv_estimator not in compares:
            raise ValueError(
                f"{name} centres by policy.adv_estimator, which must be one of {compares}, got "
                f"'{self.adv_estimator}'"
            )

    def check_with(self, rollout: Rollout) -> None:
        """Raises ValueError where the penalty would begin before a response does, and for an
        estimator whose responses are not sampled so.
        """
        self._check_tree(rollout)
        if self.overlong_buffer_len > rollout.max_response_length:
            raise ValueError(
                f"policy.overlong_buffer_len {self.overlong_buffer_len} exceeds "
                f"rollout.max_response_length {rollout.max_response_length}"
            )

    def _check_tree(self, rollout: Rollout) -> None:
        name = f"policy.adv_estimator '{self.adv_estimator}'"
        if self.compares_within_trees and rollout.tree is None:
            raise ValueError(
                f"{name} compares responses that fork from one another: it needs rollout.tree"
            )
        apart = {
            "remax": "compares with a greedy response, which is in no tree",
            "gigpo": "compares turns of an environment, whose episodes do not fork",
        }
        if self.adv_estimator in apart and rollout.tree is not None:
            raise ValueError(f"{name} {apart[self.adv_estimator]}: rollout.tree must be null")
        if self.adv_estimator.startswith("treerl") and self.gamma_outcome != 1:
            raise ValueError(
                f"{name} has no discount: gamma_outcome must be 1, got {self.gamma_outcome}"
            )
