"""Settings of sampling (`rollout`), one section of `prime_core.settings.run`."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from prime_core.settings.section import CHANGEABLE, Section


class Tree(Section):
    """Responses that fork from one another (TreeRL, arXiv 2506.11902; Tree-GRPO, 2509.21240)."""

    kind: Literal["eptree", "random"] = Field(
        "eptree",
        description="Where a chain forks. eptree: at the tokens that were least likely, the first "
        "of a branch and those behind the word answer or conclusion left out; random: at ends of "
        "steps.",
    )
    m: int = Field(6, ge=1, description="Chains of a prompt, each the trunk of a tree. TreeRL: 6.")
    n: int = Field(2, ge=1, description="Forks that a tree gets in a round. TreeRL: 2.")
    l: int = Field(1, ge=1, description="Rounds, each sampled after the one before. TreeRL: 1.")  # noqa: E741
    t: int = Field(2, ge=1, description="Continuations sampled at a fork. TreeRL: 2.")

    @property
    def num_leaves(self) -> int:
        """Responses of a prompt."""
        return self.m * (1 + self.n * self.t * self.l)


class Rollout(Section):
    """Sampling of responses."""

    sampler: Literal["auto", "vllm", "transformers"] = Field(
        "auto",
        description="auto: vLLM where it can run, else transformers. Iterations that have begun "
        "keep theirs.",
        json_schema_extra=CHANGEABLE,
    )
    rollout_batch_size: int = Field(256, ge=1, description="Prompts per iteration. Paper: 256.")
    # Two at least: a response's baseline is made of the others to its prompt.
    n_samples_per_prompt: int = Field(4, ge=2, description="Responses per prompt, K. Paper: 4.")
    temperature: float = Field(1.0, gt=0, description="Paper: 1.0.")
    top_p: float = Field(1.0, gt=0, le=1, description="Paper: 1.0.")
    top_k: int = Field(0, ge=0, description="0: off, as in the paper.")
    max_response_length: int = Field(3072, ge=1, description="Tokens. Paper: 3072.")
    tree: Tree | None = Field(
        None,
        description="Responses fork from one another and share their beginnings; "
        "n_samples_per_prompt must be m (1 + n t l). null: each is sampled by itself.",
    )
    step_boundary: str | None = Field(
        None,
        description="Regular expression of what ends a step of a response, for all that rewards or "
        "values steps; null: blank lines, and lines that begin 'Step N:'.",
    )
    oversample_factor: float = Field(
        1.0, ge=1, description="Prompts of the first round, as a multiple of rollout_batch_size."
    )
    refill_rounds: int = Field(
        0, ge=0, description="Further rounds of fresh prompts while the filtered batch is short."
    )
    min_batch_fill: float = Field(
        1.0,
        gt=0,
        le=1,
        description="A refill round asks for nothing where the batch already holds this share of "
        "rollout_batch_size: two more starts of the sampler for a prompt or two are a bad bargain.",
    )
    # Not changeable: which policy an iteration samples from would change with it.
    # docs/decisions.md#staleness
    max_staleness: int = Field(
        0,
        ge=0,
        description="How many updates the sampling policy may lag behind the policy in training. "
        "Paper: 0.",
    )
    stale_rollouts: Literal["overlap", "surplus"] = Field(
        "overlap",
        description="What max_staleness is used for. overlap: each iteration is sampled that many "
        "updates ahead, in parallel with training; surplus: groups that do not fit into a batch "
        "enter the next one.",
    )
    num_shards: int = Field(
        2,
        ge=1,
        description="Sampling and verification jobs per round.",
        json_schema_extra=CHANGEABLE,
    )
    sampler_batch_size: int = Field(
        256, ge=1, description="Responses generated together.", json_schema_extra=CHANGEABLE
    )
    tensor_parallel_size: int = Field(
        1,
        ge=1,
        description="vLLM: GPUs of a sampling job that share one copy of the model; divides its "
        "attention heads.",
        json_schema_extra=CHANGEABLE,
    )
    gpu_memory_utilization: float = Field(
        0.9,
        gt=0,
        le=1,
        description="vLLM: share of each GPU's memory for weights and key-value cache.",
        json_schema_extra=CHANGEABLE,
    )
    enforce_eager: bool = Field(
        False,
        description="vLLM: no compilation and no CUDA graphs; starts sooner, samples more slowly.",
        json_schema_extra=CHANGEABLE,
    )

    @model_validator(mode="after")
    def _leaves_are_the_samples(self) -> Rollout:
        tree = self.tree
        if tree is not None and self.n_samples_per_prompt != tree.num_leaves:
            raise ValueError(
                f"n_samples_per_prompt {self.n_samples_per_prompt} must be {tree.num_leaves}: a "
                f"tree of m {tree.m}, n {tree.n}, l {tree.l}, t {tree.t} has m (1 + n t l) leaves"
            )
        return self

    @field_validator("step_boundary")
    @classmethod
    def _is_an_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"no regular expression: {error}, got {value!r}") from None
        return value

    @property
    def lag(self) -> int:
        """How many updates an iteration's sampling policy lags behind the newest one."""
        return self.max_staleness if self.stale_rollouts == "overlap" else 0

    @property
    def keeps_surplus(self) -> bool:
        """Whether groups that pass the filter but do not fit wait for the next iteration."""
        return self.max_staleness > 0 and self.stale_rollouts == "surplus"
