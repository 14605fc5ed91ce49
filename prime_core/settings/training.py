"""Settings of training (`training`), one section of `prime_core.settings.run`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from prime_core.settings.section import CHANGEABLE, Section


class Training(Section):
    """How DeepSpeed trains SFT, PRM and policy alike."""

    # A number with bounds, not a Literal: Snakemake passes values of nested overrides on as text,
    # which pydantic converts for an int alone. Changeable since a training state is converted to
    # the stage that reads it. docs/decisions.md#state-any-ranks
    zero_stage: int = Field(
        0,
        ge=0,
        le=3,
        description="DeepSpeed ZeRO stage: what is partitioned over the ranks. 0: nothing; 1: "
        "optimizer states; 2: gradients too; 3: weights too. May change at any time.",
        json_schema_extra=CHANGEABLE,
    )
    offload_optimizer: Literal["none", "cpu"] = Field(
        "none",
        description="cpu: optimizer states and float32 weights stay in the node's memory, and its "
        "CPUs compute the steps. Needs zero_stage 1 to 3.",
        json_schema_extra=CHANGEABLE,
    )
    # Not changeable: sums in bfloat16 differ by percents, not by rounding of a last digit.
    # docs/decisions.md#float32-sums
    grad_accum_dtype: Literal["float32", "model"] = Field(
        "float32",
        description="In what the gradients of a step's passes add up. float32: 2 bytes more for "
        "each number that a rank keeps; model: model.dtype. The same where that is float32.",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Keep only each layer's input and recompute the layer in the backward pass: "
        "less memory, about a third more time.",
        json_schema_extra=CHANGEABLE,
    )
    # Changeable, like the size of passes: results differ by rounding.
    # docs/decisions.md#packed-passes
    packing: bool = Field(
        True,
        description="Concatenate the sequences of a pass instead of padding them to one length. "
        "Model families whose layers cannot separate them are padded anyway.",
        json_schema_extra=CHANGEABLE,
    )
    max_token_len_per_gpu: int | None = Field(
        None,
        ge=1,
        description="Tokens per pass of SFT, PRM, policy and scoring, including prompts but not "
        "padding; a longer sequence gets its own pass. null: micro_batch_size sequences.",
        json_schema_extra=CHANGEABLE,
    )
    logprobs_chunk_size: int = Field(
        256,
        ge=1,
        description="Response tokens whose logits are held at a time.",
        json_schema_extra=CHANGEABLE,
    )
    state_storage: Literal["disk", "memory"] = Field(
        "disk",
        description="Where an update leaves its training state. disk: in the folder of its "
        "weights; memory: in the machine's memory (/dev/shm, or fast_storage of site.yaml), from "
        "where the next update reads it, and a job copies it to disk during the next sampling. "
        "Takes effect where all stages run on one machine: not as Slurm jobs of their own, nor on "
        "several nodes.",
        json_schema_extra=CHANGEABLE,
    )
    checkpoint_minutes: float = Field(
        30.0,
        ge=0,
        description="Minutes of training that a node failure may cost; 0: checkpoints within a "
        "stage only when it is asked to stop.",
        json_schema_extra=CHANGEABLE,
    )

    @model_validator(mode="after")
    def _something_to_off_load(self) -> Training:
        # docs/decisions.md#offloaded-adamw
        if self.offload_optimizer != "none" and self.zero_stage == 0:
            raise ValueError(
                f"training.offload_optimizer '{self.offload_optimizer}' needs training.zero_stage "
                "1 to 3: DeepSpeed off-loads nothing at stage 0"
            )
        return self
