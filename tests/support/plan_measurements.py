"""Memory and folders of a real trainer, in this process or, as a script, on several ranks.

`python -m torch.distributed.run --nproc-per-node 2 -m tests.support.plan_measurements FOLDER`
writes FOLDER/<dtype>-<stage>.json: what `measure` returns. DeepSpeed's buffers are made small,
since they would be larger than all the rest.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from transformers import Qwen2ForCausalLM

from prime_core.models.build import build_model, build_tokenizer
from prime_core.planning import memory
from prime_core.planning.activations import Pass
from prime_core.planning.memory import Training
from prime_core.planning.shapes import ModelShape, shape_from_config
from prime_core.settings import training as settings_training
from prime_core.settings.optimizer import Optimizer
from prime_core.training import distributed, engine
from prime_core.training.batches import Sequences, pad
from prime_core.training.scoring import response_logprobs
from tests.support.live_memory import LiveMemory, live_bytes

BUCKET = 10_000  # numbers
KINDS = [
    ("float32", 0),
    *((dtype, stage) for dtype in ("float32", "bfloat16") for stage in (1, 2, 3)),
]
PROMPT, RESPONSE = 2, 4  # tokens: weights shall outweigh activations


@dataclass(frozen=True)
class Measured:
    """Bytes on one rank: between steps, with gradients of a first pass, and the most in a step."""

    num_ranks: int
    resident: int
    with_gradients: int
    most: int


def wide_model(dtype: str) -> Qwen2ForCausalLM:
    """Three million parameters, in pieces that ZeRO-3 does cut."""
    model = build_model(
        build_tokenizer(),
        num_layers=2,
        hidden_size=448,
        num_heads=4,
        intermediate_size=512,
        max_position=64,
        initializer_range=0.02,
        seed=0,
    )
    return model.to(getattr(torch, dtype))


def shape_of(model: Qwen2ForCausalLM) -> ModelShape:
    """Its shape, as a plan reads it."""
    return shape_from_config(json.loads(model.config.to_json_string(use_diff=False)), "model")


def planned(dtype: str, zero_stage: int, num_ranks: int) -> tuple[ModelShape, Training]:
    """What the plan is asked for such a trainer."""
    width = {"float32": 4, "bfloat16": 2}[dtype]
    how = Training(zero_stage, num_ranks, Pass(1, PROMPT, RESPONSE, width))
    return shape_of(wide_model(dtype)), how


def measure(dtype: str, zero_stage: int, folder: Path | None = None, **settings: Any) -> Measured:
    """Two steps of two passes; the trainer is saved in `folder` where one is given.

    settings: others of the section training.
    """
    with small_buckets(), as_on_a_gpu():
        training = settings_training.Training(zero_stage=zero_stage, **settings)
        base = live_bytes()
        trainer = engine.Trainer(wide_model(dtype), Optimizer(), lambda _step: 1.0, training)
        batch = pad(Sequences([[7] * PROMPT], [[9] * RESPONSE]), 0, torch.device("cpu"))
        between = []

        def loss_of(_pass: int) -> torch.Tensor:
            between.append(live_bytes() - base)
            return -response_logprobs(trainer.engine, batch).sum()

        trainer.step([0, 1], loss_of)
        resident = live_bytes() - base
        with LiveMemory() as memory_of_step:
            trainer.step([0, 1], loss_of)
    if folder is not None:
        trainer.save(folder, build_tokenizer())
    return Measured(distributed.world_size(), resident, between[-1], memory_of_step.most + resident)


def small_buckets() -> Any:
    """DeepSpeed's and the plan's buffers, small."""
    usual = engine._deepspeed_config

    def config(*arguments: Any) -> dict:
        values = usual(*arguments)
        values["zero_optimization"] |= {
            "reduce_bucket_size": BUCKET,
            "allgather_bucket_size": BUCKET,
            "stage3_prefetch_bucket_size": 1,
            "stage3_max_live_parameters": 1,
        }
        return values

    return patch.object(engine, "_deepspeed_config", config)


def as_on_a_gpu() -> Any:
    """AdamW's steps of all tensors at once, which torch takes by itself on a GPU alone."""
    return patch("torch.optim.adam._default_to_fused_or_foreach", return_value=(False, True))


def plan_with_small_buckets() -> Any:
    """The same in the plan."""
    return patch.multiple(memory, BUCKET=BUCKET, GATHERED=0)


def main(folder: Path) -> None:
    """Measure all kinds on all ranks; each rank writes its own."""
    distributed.start_ranks()
    for dtype, zero_stage in KINDS:
        found = measure(dtype, zero_stage, folder / f"{dtype}-{zero_stage}")
        path = folder / f"{dtype}-{zero_stage}-{distributed.rank()}.json"
        path.write_text(json.dumps(vars(found)))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
