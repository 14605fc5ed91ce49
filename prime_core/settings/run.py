"""The settings of a run: one typed model, the single source of keys, defaults, help and schema.

Each field says in `json_schema_extra` whether it may change while a run is under way:
`{"changeable": True}` marks what cannot alter finished results (how many iterations, how work is
split into shards and micro batches, which weights are kept). See `prime_core.run.changes`.
Reading settings from files and the command line is `prime_core.settings.reading`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from prime_core.settings.data import Data
from prime_core.settings.evaluation import GENERATED, Evaluation
from prime_core.settings.lora import Lora
from prime_core.settings.optimizer import Optimizer
from prime_core.settings.policy import Policy
from prime_core.settings.prm import Prm
from prime_core.settings.reproduction import Reproduction
from prime_core.settings.rollout import Rollout
from prime_core.settings.section import CHANGEABLE, NAME_PATTERN, FolderPath, Section
from prime_core.settings.training import Training
from prime_core.settings.value import Value
from prime_core.settings.verification import Verification


class BuildModel(Section):
    """A small Qwen2 built from scratch, for runs that start without a pretrained model."""

    num_layers: int = Field(3, ge=1, description="Transformer layers.")
    hidden_size: int = Field(96, ge=8, description="Width of the residual stream.")
    num_heads: int = Field(4, ge=1, description="Attention heads; divides hidden_size.")
    intermediate_size: int = Field(256, ge=8, description="Width of the feed-forward layers.")
    max_position: int = Field(4096, ge=16, description="Longest sequence, in tokens.")
    initializer_range: float = Field(
        0.02, gt=0, description="Standard deviation of the random weights."
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> BuildModel:
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of twice num_heads "
                f"({self.num_heads}): rotary embeddings need an even head width"
            )
        return self


class Model(Section):
    """The language model that the run starts from."""

    path: str | None = Field(
        None,
        description="Local folder, .gguf file or hub id of a causal LM; null builds a small one "
        "(build).",
    )
    build: BuildModel = Field(default_factory=BuildModel)
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="Data type of the weights in training and sampling."
    )


class Sft(Section):
    """Supervised warm-up on demonstrations. Paper: 3 epochs, batch 96, rate 1e-5, cosine."""

    enabled: bool = Field(True, description="false: the start model is used as is.")
    num_steps: int = Field(1400, ge=1, description="Optimizer steps.")
    batch_size: int = Field(48, ge=1, description="Demonstrations per step. Paper: 96.")
    micro_batch_size: int = Field(
        48, ge=1, description="Demonstrations in one pass.", json_schema_extra=CHANGEABLE
    )
    max_length: int = Field(1024, ge=2, description="Tokens; longer demonstrations are dropped.")
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="Share of steps. Paper: 0.1.")
    optimizer: Optimizer = Field(default_factory=Optimizer)
    lora: Lora | None = Field(
        None, description="Low-rank adapters; null: all weights are trained, as in the paper."
    )


class Filter(Section):
    """Which prompts' groups are trained on. Paper: mean outcome within [0.2, 0.8]."""

    filter_accuracy: bool = Field(True, description="Keep only groups within the bounds below.")
    accuracy_lower_bound: float = Field(0.2, ge=0, le=1, description="Inclusive. Paper: 0.2.")
    accuracy_upper_bound: float = Field(0.8, ge=0, le=1, description="Inclusive. Paper: 0.8.")
    filter_truncated: bool = Field(False, description="Drop groups with a truncated response.")

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Filter:
        if self.accuracy_lower_bound > self.accuracy_upper_bound:
            raise ValueError(
                f"accuracy_lower_bound {self.accuracy_lower_bound} is above "
                f"accuracy_upper_bound {self.accuracy_upper_bound}"
            )
        return self


class Checkpoints(Section):
    """Which iterations' weights stay on disk. Tables always stay."""

    keep_last: int = Field(
        2, ge=1, description="Newest iterations to keep.", json_schema_extra=CHANGEABLE
    )
    save_freq: int = Field(
        16, ge=0, description="Keep every n-th for good; 0: none.", json_schema_extra=CHANGEABLE
    )


class Settings(Section):
    """All settings of one run."""

    run: str = Field(
        "quickstart",
        pattern=NAME_PATTERN,
        description="Name of the run, and of its folder.",
    )
    results: FolderPath = Field("results", description="Folder that holds the runs.")
    seed: int = Field(0, ge=0, description="Source of every random number of the run.")
    iterations: int = Field(
        16, ge=0, description="RL iterations. Paper: 592.", json_schema_extra=CHANGEABLE
    )
    init_from: str | None = Field(
        None,
        description="RUN@ITERATION: continue from an iteration of another run, a name in the same "
        "results folder or a path; 0: share only its data and start models. Numbering continues: "
        "the first iteration is ITERATION + 1. null: an independent run.",
    )
    max_gpu_hours: float | None = Field(
        None,
        gt=0,
        description="GPU-hours of all the run's Slurm jobs, after which no more are submitted; "
        "null: no limit.",
        json_schema_extra=CHANGEABLE,
    )
    stage_resources: str = Field(
        "cluster_profiles/stages.yaml",
        description="File with each stage's GPUs, CPUs, memory and minutes, relative to the "
        "repository's folder.",
        json_schema_extra=CHANGEABLE,
    )
    resident: Literal["fork", "none", "engines"] = Field(
        "fork",
        description="How stages start on this machine and in an allocation. fork: as children of "
        "one process that has imported everything (a stage of the quickstart starts in 0.1 s "
        "instead of 5); none: each by itself; engines: as fork, and sampler and trainers stay in "
        "memory from one iteration to the next (tried on CPUs alone). Stages in Slurm jobs of "
        "their own always start by themselves. The results are the same.",
        json_schema_extra=CHANGEABLE,
    )
    model: Model = Field(default_factory=Model)
    data: Data = Field(default_factory=Data)
    sft: Sft = Field(default_factory=Sft)
    rollout: Rollout = Field(default_factory=Rollout)
    verification: Verification = Field(default_factory=Verification)
    filter: Filter = Field(default_factory=Filter)
    prm: Prm = Field(default_factory=Prm)
    policy: Policy = Field(default_factory=Policy)
    value: Value = Field(default_factory=Value)
    training: Training = Field(default_factory=Training)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    checkpoints: Checkpoints = Field(default_factory=Checkpoints)
    reproduction: Reproduction = Field(default_factory=Reproduction)

    @field_validator("init_from")
    @classmethod
    def _names_run_and_iteration(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r".+@[0-9]+", value):
            raise ValueError(f"expected RUN@ITERATION, e.g. quickstart@8, got '{value}'")
        return value

    @model_validator(mode="after")
    def _combinations(self) -> Settings:
        prm = self.prm
        # A branch at a later iteration has its origin's PRM, which open_origin judges.
        untrained = prm.path is None and prm.offline is None and self.start == 0
        if prm.prm_update == "frozen" and untrained:
            raise ValueError(
                "prm.prm_update 'frozen' needs prm.path or prm.offline: a PRM equal to its "
                "reference gives zero rewards forever; name a trained PRM, or responses to train "
                "it on"
            )
        if self.iterations < self.start:
            raise ValueError(
                f"iterations {self.iterations} is less than that of init_from "
                f"'{self.init_from}', where numbering continues"
            )
        unrewarded = prm.prm_update == "none" and prm.source == "model"
        if unrewarded and self.policy.outcome_coef == 0:
            raise ValueError("prm.prm_update 'none' with policy.outcome_coef 0 leaves no reward")
        if prm.prm_update == "none":
            self.evaluation.refuse_prm()
        self._judged()
        self._generated_steps()
        self.value.check_with(self.policy, prm)
        self.policy.check_with(self.rollout)
        self.policy.check_credit(prm.granularity)
        self._demonstrated()
        self._turns()
        longest = self.data.max_prompt_length + self.rollout.max_response_length
        # Another model's context length is not in the settings: the stage `build` checks it.
        if self.model.path is None and longest > self.model.build.max_position:
            raise ValueError(
                f"data.max_prompt_length {self.data.max_prompt_length} and "
                f"rollout.max_response_length {self.rollout.max_response_length} together exceed "
                f"model.build.max_position {self.model.build.max_position}"
            )
        self._whole_distribution()
        if self.model.dtype == "bfloat16" and self.training.zero_stage == 0:
            raise ValueError(
                "model.dtype 'bfloat16' needs training.zero_stage 1 to 3: stage 0 keeps no "
                "float32 copy of the weights and loses small updates"
            )
        return self

    def _demonstrated(self) -> None:
        """The warm-up has demonstrations."""
        if not self.sft.enabled:
            return
        data = self.data
        if data.source == "files" and data.sft is None:
            raise ValueError(
                "sft.enabled needs data.sft, a file of demonstrations, or set it false"
            )
        if data.source == "arithmetic" and data.arithmetic.num_demonstrations == 0:
            raise ValueError(
                "sft.enabled with data.arithmetic.num_demonstrations 0 has nothing to train on"
            )
        if data.env is not None and data.env.num_demonstrations == 0:
            raise ValueError(
                "sft.enabled needs data.env.demonstrator and data.env.num_demonstrations, or set "
                "it false"
            )

    def _turns(self) -> None:
        """What a run of an environment cannot have, and what only such a run can."""
        env, estimator = self.data.env, self.policy.adv_estimator
        if env is None:
            self._no_states()
            return
        if env.max_turn_length > self.rollout.max_response_length:
            raise ValueError(
                f"data.env.max_turn_length {env.max_turn_length} is above "
                f"rollout.max_response_length {self.rollout.max_response_length}, which bounds the "
                "whole episode"
            )
        if self.rollout.tree is not None:
            raise ValueError(
                "rollout.tree with data.source env: a fork inside an episode would need its "
                "environment in the state that it had there; leave one of them out"
            )
        if env.invalid_action_penalty and estimator == "gae":
            raise ValueError(
                "data.env.invalid_action_penalty with policy.adv_estimator 'gae': values have no "
                "turns to take it from; expected 0, or another estimator"
            )
        scored = [name for name, one in self.evaluation.benchmarks.items() if one.scorer]
        if scored:
            raise ValueError(
                f"evaluation.benchmarks.{scored[0]}.scorer with data.source env: a PRM would score "
                "the environment's words with the policy's"
            )
        # The environment judges: its reward would be thrown away.
        if self.verification.function is not None:
            raise ValueError(
                "verification.function with data.source env: the environment itself judges; leave "
                "one of them out"
            )

    def _no_states(self) -> None:
        """Visits are counted, and turns compared, by the observations of an environment."""
        if self.policy.adv_estimator == "gigpo":
            raise ValueError(
                "policy.adv_estimator 'gigpo' compares turns of an environment: it needs "
                f"data.source 'env', got '{self.data.source}'"
            )
        if self.counts_visits:
            raise ValueError(
                "value.source 'visits' counts an environment's states, and data.source is "
                f"'{self.data.source}': in free text no state comes twice"
            )

    def _judged(self) -> None:
        """An ability that asks for the user's function needs one."""
        abilities = {f"data.sources.{name}": one.ability for name, one in self.data.sources.items()}
        for name, benchmark in self.evaluation.benchmarks.items():
            if benchmark.ability is not None:
                abilities[f"evaluation.benchmarks.{name}"] = benchmark.ability
        for key, ability in abilities.items():
            if ability == "function" and self.verification.function is None:
                raise ValueError(
                    f"{key}.ability 'function' needs verification.function, the function that "
                    "judges"
                )

    def _generated_steps(self) -> None:
        """Generated solutions are chains of generated sums, some of them with a slip."""
        steps, data = self.evaluation.steps, self.data
        if steps is None or GENERATED not in steps.files.values():
            return
        if data.source != "arithmetic" or data.arithmetic.slip_share == 0:
            raise ValueError(
                f"evaluation.steps.files names '{GENERATED}' solutions, which need data.source "
                f"'arithmetic' with data.arithmetic.slip_share above 0; they are '{data.source}' "
                f"and {data.arithmetic.slip_share:g}"
            )

    def _whole_distribution(self) -> None:
        """Corrections compare probabilities, which must be of the same distribution."""
        rollout, policy = self.rollout, self.policy
        cut: dict[str, object] = {"top_p": rollout.top_p} if rollout.top_p < 1 else {}
        cut |= {"top_k": rollout.top_k} if rollout.top_k else {}
        corrected: dict[str, object] = {"tis_clip": policy.tis_clip} if policy.tis_clip else {}
        if policy.rejection_level != "none":
            corrected |= {"rejection_level": policy.rejection_level}
        # docs/decisions.md#whole-distribution
        if cut and corrected:
            raise ValueError(
                f"{_listed('rollout', cut)} with {_listed('policy', corrected)}: the sampler's "
                "probabilities are then those of the tokens that are left, the trainer's those of "
                "all, and a correction would take the difference for a mismatch; expected "
                "rollout.top_p 1 and rollout.top_k 0, or no correction"
            )

    @property
    def invalid_action_penalty(self) -> float:
        """What a turn loses whose action the environment could not take; 0 without one."""
        return 0.0 if self.data.env is None else self.data.env.invalid_action_penalty

    @property
    def batch_columns(self) -> tuple[str, ...]:
        """Optional columns of the batch that advantages are made of."""
        valid = ("valid_actions",) if self.invalid_action_penalty else ()
        states = ("states",) if self.counts_visits else ()
        return (*self.policy.batch_columns, *valid, *states)

    @property
    def has_value_model(self) -> bool:
        """Whether a value model is trained beside the policy (PPO)."""
        return self.policy.adv_estimator == "gae" and self.value.source == "model"

    @property
    def counts_visits(self) -> bool:
        """Whether values of an environment's turns are means over visits of its states."""
        return self.policy.adv_estimator == "gae" and self.value.source == "visits"

    @property
    def draws_continuations(self) -> bool:
        """Whether each iteration continues its responses to find the values of their steps."""
        return self.value.draws_continuations(self.policy, self.prm)

    @property
    def trained(self) -> tuple[str, ...]:
        """Stages that train a model in each iteration, the policy first."""
        prm = ("prm",) if self.prm.prm_update in ("after", "before") else ()
        return ("policy", *prm, *(("value",) if self.has_value_model else ()))

    @property
    def start(self) -> int:
        """The iteration after which the run's own ones begin: 0, or that of init_from."""
        return int(self.init_from.rpartition("@")[2]) if self.init_from else 0

    @property
    def own_iterations(self) -> range:
        """Numbers of the run's own iterations: a branch continues its origin's numbering."""
        return range(self.start + 1, self.iterations + 1)

    @property
    def num_last_kept(self) -> int:
        """Newest iterations whose weights stay: further iterations would start from them."""
        return max(self.checkpoints.keep_last, 1 + self.rollout.lag)

    @property
    def run_dir(self) -> Path:
        """Folder of the run's files."""
        return Path(self.results) / self.run


def _listed(section: str, values: dict[str, object]) -> str:
    return " and ".join(f"{section}.{key} {value}" for key, value in values.items())
