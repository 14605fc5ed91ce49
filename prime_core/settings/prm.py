"""Settings of the process reward model (`prm`), one section of `prime_core.settings.run`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from prime_core.settings.lora import Lora
from prime_core.settings.optimizer import Optimizer
from prime_core.settings.section import CHANGEABLE, Section


class PrmOptimizer(Optimizer):
    """The PRM's optimizer: constant learning rate."""

    learning_rate: float = Field(1e-6, gt=0, description="Paper: 1e-6, constant.")
    grad_clip: float = Field(10.0, gt=0, description="Largest gradient norm. Paper: 10.")


class LabelNoise(Section):
    """How often outcomes are wrong, e.g. a judge's: corrected for in the cross-entropy."""

    false_positive: float = Field(0.0, ge=0, lt=1, description="Share of wrong ones called right.")
    false_negative: float = Field(0.0, ge=0, lt=1, description="Share of right ones called wrong.")

    @model_validator(mode="after")
    def _says_something(self) -> LabelNoise:
        if self.false_positive + self.false_negative >= 1:
            raise ValueError(
                f"false_positive {self.false_positive} and false_negative {self.false_negative} "
                "leave outcomes that say nothing, or the opposite; expected a sum below 1"
            )
        return self


class PrmLoss(Section):
    """The PRM's loss on outcomes: a part of the section `prm`, and of `prm.offline`."""

    loss_type: str
    response_score: Literal["sum", "mean", "turn_mean"] = Field(
        "sum",
        description="What a whole response is judged by: the sum of its rewards, their mean, "
        "length-normalised, or the mean over turns of each turn's sum (iStar's published code). "
        "'prefix' needs mean. Paper: sum.",
    )
    margin: float = Field(
        5.0, ge=0, description="prefix: by how much the sign must be right. IPVRM: 5, beta 10."
    )
    difficulty: Literal["none", "weight", "boundary", "both"] = Field(
        "none",
        description="prefix: responses weigh more, or need a larger margin, where their outcome is "
        "unusual for their prompt.",
    )
    label_noise: LabelNoise = Field(
        default_factory=LabelNoise, description="ce: how often outcomes are wrong."
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="ce: outcomes move this far towards 1/2, times two."
    )
    bon_weight: Literal["none", "bon_acc", "bon_rm"] = Field(
        "none",
        description="Weight of detached dpo's losses: a response's chance of being the best of its "
        "prompt's, by outcome (bon_acc) or by the PRM's own reward (bon_rm). Paper: none.",
    )

    @property
    def objective(self) -> str:
        """ce, dpo (gradients through both sides of a pair) or dpo_detached, wherever it is set."""
        return self.loss_type

    @property
    def _detached(self) -> str:
        """What detached dpo is called in this section."""
        return "dpo_detached"

    @model_validator(mode="after")
    def _weights_of_pairs(self) -> PrmLoss:
        if self.bon_weight != "none" and self.objective != "dpo_detached":
            raise ValueError(
                f"bon_weight '{self.bon_weight}' weighs the losses of loss_type "
                f"'{self._detached}', and loss_type is '{self.loss_type}'"
            )
        noisy = self.label_smoothing or any(self.label_noise.model_dump().values())
        if noisy and self.loss_type != "ce":
            raise ValueError(
                "label_noise and label_smoothing are of loss_type 'ce', and loss_type is "
                f"'{self.loss_type}'"
            )
        if self.difficulty != "none" and self.loss_type != "prefix":
            raise ValueError(
                f"difficulty '{self.difficulty}' is of loss_type 'prefix', and loss_type is "
                f"'{self.loss_type}'"
            )
        if self.loss_type == "prefix" and self.response_score != "mean":
            raise ValueError(
                "loss_type 'prefix' trains mean rewards: response_score must be 'mean'"
            )
        return self

    @property
    def compares(self) -> bool:
        """Whether responses are compared with others to their prompt: either dpo."""
        return self.objective in ("dpo", "dpo_detached")

    @property
    def needs_groups(self) -> bool:
        """Whether a response's loss depends on the others to its prompt."""
        return self.compares or self.difficulty != "none"


class OfflineOptimizer(Optimizer):
    """The offline PRM's optimizer: linear warm-up, then half a cosine down to 0."""

    learning_rate: float = Field(
        5e-7, gt=0, description="Peak rate. Free Process Rewards (arXiv 2412.01981): 5e-7."
    )


class Offline(PrmLoss):
    """Training of the first PRM on labelled responses, before reinforcement learning begins."""

    loss_type: Literal["ce", "dpo", "dpo_detached", "prefix"] = Field(
        "ce",
        description="ce: cross-entropy of each response's outcome; dpo: that of Free Process "
        "Rewards, every right response of a prompt against every wrong one, with gradients through "
        "both; dpo_detached: the online `dpo`, without gradients through the opponents; prefix: "
        "every prefix predicts the outcome.",
    )
    file: str = Field(
        description="Labelled responses, specified like data.train: prompt, response, outcome (0 "
        "or 1) and, for either dpo, prompt_id. `prime labelled` writes such a file from a run."
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Our column name -> the file's: prompt, response, outcome, prompt_id, "
        "finished; a.b is b inside a.",
    )
    max_length: int = Field(
        4096, ge=2, description="Tokens of prompt and response; longer ones are dropped."
    )
    mini_batch_size: int = Field(
        64, ge=1, description="Responses per optimizer step. Free Process Rewards: 64."
    )
    micro_batch_size: int = Field(
        8, ge=1, description="Responses in one pass.", json_schema_extra=CHANGEABLE
    )
    epochs: int = Field(1, ge=1, description="Passes over the responses. Free Process Rewards: 1.")
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="Share of steps.")
    optimizer: OfflineOptimizer = Field(default_factory=OfflineOptimizer)
    lora: Lora | None = Field(
        None,
        description="Low-rank adapters; null: all weights are trained. prm.lora starts from the "
        "merged result.",
    )


class Prm(PrmLoss):
    """The implicit process reward model. Paper: beta 0.05, rate 1e-6, clip 10, updated online."""

    loss_type: Literal["ce", "dpo", "dpo_pairs", "prefix"] = Field(
        "ce",
        description="ce: cross-entropy of each response's outcome; dpo: each response against the "
        "mean of its prompt's responses with the opposite outcome, detached (verl's recipe); "
        "dpo_pairs: every right response of a prompt against every wrong one, with gradients "
        "through both (iStar); prefix: every prefix predicts the outcome. Paper: ce.",
    )
    prm_update: Literal["after", "before", "frozen", "none"] = Field(
        "after",
        description="after: score the batch, then update; before: update, then score; frozen: "
        "never update; none: outcome rewards only.",
    )
    source: Literal["model", "monte_carlo"] = Field(
        "model",
        description="What process rewards come from. model: the PRM of this section; monte_carlo: "
        "how each step changes the mean outcome of continuations (value.n_continuations), at the "
        "step's last token, without a PRM; needs prm_update none and policy.outcome_coef 0.",
    )
    prm_reference: Literal["sft", "policy"] = Field(
        "sft",
        description="The reference of the log-ratio: the start model, or the sampling policy.",
    )
    path: str | None = Field(
        None, description="Folder or hub id of the first PRM; null: SFT model."
    )
    reference_path: str | None = Field(
        None,
        description="Folder or hub id of the PRM's own reference, where the PRM has another size "
        "than the policy; null: prm_reference decides.",
    )
    offline: Offline | None = Field(
        None,
        description="Train the first PRM on a file of labelled responses; null: it is used as is.",
    )
    beta: float = Field(0.05, gt=0, description="Scale of the implicit reward. Paper: 0.05.")
    prime_granularity: Literal["token", "step", "turn", "whole"] = Field(
        "token",
        description="Reward every token, the last token of each step or of each turn with an "
        "environment, or the last token alone. Paper: token.",
    )
    # batch_norm is behind the published numbers, though the paper does not mention it.
    # docs/decisions.md#batch-norm
    prime_norm: Literal["none", "batch_norm", "value_std"] = Field(
        "none",
        description="Divide rewards by the batch's largest return (batch_norm) or by the standard "
        "deviation of its prefix sums (value_std).",
    )
    eos_reward: bool = Field(True, description="false: the last token's reward is 0.")
    mini_batch_size: int = Field(256, ge=1, description="Responses per optimizer step. Paper: 256.")
    micro_batch_size: int = Field(8, ge=1, json_schema_extra=CHANGEABLE)
    epochs: int = Field(1, ge=1, description="Passes over the batch. Paper: 1.")
    optimizer: PrmOptimizer = Field(default_factory=PrmOptimizer)
    lora: Lora | None = Field(
        None, description="Low-rank adapters; null: all weights are trained, as in the paper."
    )

    @property
    def granularity(self) -> str:
        """Of the process rewards: token, step or whole; "none" where there are none."""
        if self.source == "monte_carlo":
            return "step"
        return "none" if self.prm_update == "none" else self.prime_granularity

    @property
    def objective(self) -> str:
        """As in prm.offline, where `dpo` is the one of all pairs."""
        return {"dpo": "dpo_detached", "dpo_pairs": "dpo"}.get(self.loss_type, self.loss_type)

    @property
    def _detached(self) -> str:
        return "dpo"

    @model_validator(mode="after")
    def _one_reference(self) -> Prm:
        if self.reference_path is not None and self.prm_reference == "policy":
            raise ValueError(
                "prm.reference_path names the PRM's own reference, but prm.prm_reference 'policy' "
                "asks for the sampling policy; leave one of them out"
            )
        return self
