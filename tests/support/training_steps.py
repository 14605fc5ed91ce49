"""A few optimizer steps on the tiny model, in this process or, as a script, on several ranks.

`python -m torch.distributed.run --nproc-per-node 2 -m tests.support.training_steps FOLDER` goes on
from FOLDER/first-<chain>, which one rank wrote, and writes FOLDER/second-<chain>; the weights after
all steps, taken in many ways: FOLDER/found.pt.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from transformers import PreTrainedModel

from prime_core.masked import masked_sum
from prime_core.models.load import load_model
from prime_core.settings.optimizer import Optimizer
from prime_core.settings.training import Training
from prime_core.training import distributed, engine
from prime_core.training.batches import micro_batches, pad
from prime_core.training.engine import Trainer
from prime_core.training.packing import pack
from prime_core.training.scoring import response_logprobs
from tests.support.tiny_model import ragged_sequences, tiny

SEQUENCES = ragged_sequences(7)
PLAN = [[0, 1, 2, 3, 4, 5], [6, 5, 4, 3], [2, 0, 6, 1, 5]]
Weights = dict[str, Tensor]


def usual_optimizer(**changes: object) -> Optimizer:
    """AdamW with a clipping that cuts, and a weight decay that is seen."""
    values = {"learning_rate": 1e-4, "weight_decay": 0.1, "grad_clip": 0.5} | changes
    return Optimizer.model_validate(values)


def rate_at(step: int) -> float:
    """A rate that changes."""
    return 1.0 / (1 + step)


def trainer_of(
    zero_stage: int = 0,
    model: PreTrainedModel | None = None,
    optimizer: Optimizer | None = None,
    **settings: Any,
) -> Trainer:
    """A trainer on the tiny model, or on another one. settings: of the section training."""
    training = Training(zero_stage=zero_stage, **settings)
    model = tiny()[0] if model is None else model
    return Trainer(model, optimizer or usual_optimizer(), rate_at, training)


def loss_of_rows(model: Callable, rows: Sequence[int], minibatch: Sequence[int]) -> Tensor:
    """These rows' part of the minibatch's negative log-likelihood a token.

    A trainer's model gets them packed, its logits in chunks; a plain one padded.
    """
    num_tokens = sum(len(SEQUENCES.responses[row]) for row in minibatch)
    sequences, cpu = SEQUENCES.take(rows), torch.device("cpu")
    gives_logprobs = getattr(model, "gives_logprobs", False)
    batch = pack(sequences, cpu) if gives_logprobs else pad(sequences, 0, cpu)
    logprobs = response_logprobs(model, batch, chunk_tokens=4)
    return -masked_sum(logprobs, batch.mask) / num_tokens


def run_steps(trainer: Trainer, plan: Sequence[list[int]], size: int = 3) -> list[float]:
    """One step for each minibatch; returns the gradient norms."""

    def step(minibatch: list[int]) -> float:
        def loss_of(rows: list[int]) -> Tensor:
            rows_here = rows or minibatch[:1]  # a rank without rows of its own
            return loss_of_rows(trainer.engine, rows_here, minibatch) * bool(rows)

        ranks = (distributed.rank(), distributed.world_size())
        return trainer.step(
            micro_batches(minibatch, SEQUENCES.lengths, size, None, *ranks), loss_of
        )

    return [step(minibatch) for minibatch in plan]


def weights_of(trainer: Trainer) -> Weights:
    """A copy of the weights."""
    return {name: value.clone() for name, value in trainer.engine.module.state_dict().items()}


def difference(weights: Weights, others: Weights) -> float:
    """Largest absolute difference."""
    assert weights.keys() == others.keys()
    assert all(value.numel() for value in weights.values())
    return max(float((weights[name] - others[name]).abs().max()) for name in weights)


def cut_small() -> Any:
    """ZeRO-3 cuts even these small weights, in several groups."""
    usual = engine._deepspeed_config

    def config(*arguments: Any) -> dict[str, Any]:
        values = usual(*arguments)
        if values["zero_optimization"]["stage"] == 3:
            values["zero_optimization"] |= {
                "stage3_param_persistence_threshold": 0,
                "sub_group_size": 3000,
            }
        return values

    return patch.object(engine, "_deepspeed_config", config)


def chains() -> Iterator[tuple[int, int, int]]:
    """ZeRO stages of one rank's first step, two ranks' second and one rank's third."""
    yield from ((stage, stage, stage) for stage in range(4))
    yield from ((1, 2, 3), (3, 1, 0), (2, 3, 1), (0, 3, 2))


def name_of(chain: tuple[int, int, int]) -> str:
    """Of its folders."""
    return "-".join(map(str, chain))


def resumed(folder: Path, zero_stage: int, plan: Sequence[list[int]]) -> Trainer:
    """A trainer that goes on from a folder, after the plan's steps."""
    trainer = trainer_of(zero_stage)
    trainer.load_state(folder)
    run_steps(trainer, plan)
    return trainer


def whole_weights(trainer: Trainer, folder: Path) -> Weights:
    """The weights, whole also where ZeRO-3 keeps parts: what the first rank finds in a folder."""
    trainer.save(folder, tiny()[1])
    return dict(load_model(folder, "float32").state_dict()) if distributed.rank() == 0 else {}


def main(folder: Path) -> None:
    """Steps on all ranks: every stage, from checkpoints of one rank, every setting."""
    distributed.start_ranks()
    found: dict[str, Any] = {}
    with cut_small():
        for stage in range(4):
            trainer = trainer_of(stage)
            norms = run_steps(trainer, PLAN[:1])
            trainer.save(folder / f"checkpoint-{stage}", tiny()[1])
            norms += run_steps(trainer, PLAN[1:])
            found[f"norms-{stage}"] = norms
            found[f"steps-{stage}"] = whole_weights(trainer, folder / f"steps-{stage}")
            continued = resumed(folder / f"checkpoint-{stage}", stage, PLAN[1:])
            found[f"continued-{stage}"] = whole_weights(continued, folder / f"continued-{stage}")
        for chain in chains():
            second = resumed(folder / f"first-{name_of(chain)}", chain[1], PLAN[1:2])
            second.save(folder / f"second-{name_of(chain)}", tiny()[1])
        for stage in (1, 2, 3):
            trainer = trainer_of(stage, offload_optimizer="cpu", gradient_checkpointing=True)
            run_steps(trainer, PLAN, size=1)
            found[f"settings-{stage}"] = whole_weights(trainer, folder / f"settings-{stage}")
    if distributed.rank() == 0:
        torch.save(found, folder / "found.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
