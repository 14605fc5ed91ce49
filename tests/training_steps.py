"""A few optimizer steps on the tiny model, in this process or, as a script, on several ranks.

`python -m torch.distributed.run --nproc-per-node 2 -m tests.training_steps FOLDER` writes the
weights after two steps, by ZeRO stage: FOLDER/<stage>.pt, and a checkpoint of each after one step.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from prime_core.masked import masked_sum
from prime_core.settings import Optimizer
from prime_core.training import distributed
from prime_core.training.batches import micro_batches, pad
from prime_core.training.engine import Trainer
from prime_core.training.scoring import response_logprobs
from tests.tiny_model import ragged_sequences, tiny

SEQUENCES = ragged_sequences(7)
PLAN = [[0, 1, 2, 3, 4, 5], [6, 5, 4, 3]]
Weights = dict[str, Tensor]


def optimizer(**changes: object) -> Optimizer:
    """AdamW with a clipping that cuts, and a weight decay that is seen."""
    values = {"learning_rate": 1e-4, "weight_decay": 0.1, "grad_clip": 0.5} | changes
    return Optimizer.model_validate(values)


def rate_at(step: int) -> float:
    """A rate that changes."""
    return 1.0 / (1 + step)


def trainer_of(
    zero_stage: int = 0, model: PreTrainedModel | None = None, **changes: object
) -> Trainer:
    """A trainer on the tiny model, or on another one."""
    return Trainer(tiny()[0] if model is None else model, optimizer(**changes), rate_at, zero_stage)


def loss_of_rows(model: Callable, rows: Sequence[int], minibatch: Sequence[int]) -> Tensor:
    """These rows' part of the minibatch's negative log-likelihood a token."""
    num_tokens = sum(len(SEQUENCES.responses[row]) for row in minibatch)
    batch = pad(SEQUENCES.take(rows), 0, torch.device("cpu"))
    return -masked_sum(response_logprobs(model, batch), batch.mask) / num_tokens


def run_steps(trainer: Trainer, plan: Sequence[list[int]], size: int = 3) -> list[float]:
    """One step for each minibatch; returns the gradient norms."""

    def step(minibatch: list[int]) -> float:
        def loss_of(rows: list[int]) -> Tensor:
            rows_here = rows or minibatch[:1]  # a rank without rows of its own
            return loss_of_rows(trainer.engine, rows_here, minibatch) * bool(rows)

        ranks = (distributed.rank(), distributed.world_size())
        return trainer.step(micro_batches(minibatch, SEQUENCES.lengths, size, *ranks), loss_of)

    return [step(minibatch) for minibatch in plan]


def weights_of(trainer: Trainer) -> Weights:
    """A copy of the weights."""
    return {name: value.clone() for name, value in trainer.engine.module.state_dict().items()}


def difference(weights: Weights, others: Weights) -> float:
    """Largest absolute difference."""
    assert weights.keys() == others.keys()
    assert all(value.numel() for value in weights.values())
    return max(float((weights[name] - others[name]).abs().max()) for name in weights)


def main(folder: Path) -> None:
    """Steps on all ranks, with ZeRO stages 0 and 1."""
    distributed.start_ranks()
    tokenizer = tiny()[1]
    for zero_stage in (0, 1):
        trainer = trainer_of(zero_stage)
        norms = run_steps(trainer, PLAN[:1])
        trainer.save(folder / f"checkpoint-{zero_stage}", tokenizer)
        norms += run_steps(trainer, PLAN[1:])
        continued = trainer_of(zero_stage)
        continued.load_state(folder / f"checkpoint-{zero_stage}")
        run_steps(continued, PLAN[1:])
        if distributed.rank() == 0:
            found = {"steps": weights_of(trainer), "continued": weights_of(continued)}
            torch.save(found | {"norms": norms}, folder / f"{zero_stage}.pt")
    distributed.stop_ranks()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
