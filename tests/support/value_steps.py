"""A few optimizer steps on a tiny value model, in this process or, as a script, on several ranks.

`python -m torch.distributed.run --nproc-per-node 2 -m tests.support.value_steps FOLDER` takes the
steps at every ZeRO stage, from FOLDER/start, through a checkpoint after the first of them, and
writes FOLDER/steps-<stage>.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from prime_core.masked import masked_sum
from prime_core.models.load import load_tokenizer
from prime_core.settings.training import Training
from prime_core.training import distributed
from prime_core.training.batches import Padded, micro_batches, pad
from prime_core.training.engine import Trainer
from prime_core.training.packing import pack
from prime_core.training.value_model import load_value_model, state_values
from prime_core.value_loss import clipped_value_loss
from tests.support.tiny_model import tiny
from tests.support.training_steps import PLAN, SEQUENCES, cut_small, usual_optimizer

CPU = torch.device("cpu")
LONGEST = max(len(response) for response in SEQUENCES.responses)
OLD, RETURNS = torch.randn(2, len(SEQUENCES), LONGEST, generator=torch.Generator().manual_seed(1))
# As large as the weights of the tiny model are: a gradient then reaches every layer.
HEAD_SPREAD = 0.4


def start_model() -> PreTrainedModel:
    """A value model whose head is not zero, made of the tiny model."""
    with tempfile.TemporaryDirectory() as folder:
        tiny()[0].save_pretrained(folder)
        model = load_value_model(folder, "float32")
    generator = torch.Generator().manual_seed(2)
    head = model.get_submodule("score").get_parameter("weight")
    nn.init.normal_(head, std=HEAD_SPREAD, generator=generator)
    return model


def loss_of(
    values_of: Callable[[Sequence[int]], tuple[Tensor, Tensor]],
    rows: Sequence[int],
    minibatch: Sequence[int],
) -> Tensor:
    """These rows' part of a minibatch's clipped loss. values_of: values and mask [B, T] of rows."""
    values, mask = values_of(rows)
    old, returns = (numbers[list(rows), : mask.shape[1]] for numbers in (OLD, RETURNS))
    losses, _ = clipped_value_loss(values, old, returns, mask, cliprange_value=0.5)
    return masked_sum(losses, mask) / sum(len(SEQUENCES.responses[row]) for row in minibatch)


def padded_logits(model: Callable, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
    """As transformers alone computes them, in a padded batch."""
    batch: Padded = pad(SEQUENCES.take(list(rows)), 0, CPU)
    logits = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
    ).logits
    first = batch.input_ids.shape[1] - batch.mask.shape[1]
    return logits[:, first - 1 : -1].squeeze(-1).masked_fill(~batch.mask, 0.0), batch.mask


def run_steps(trainer: Trainer, plan: Sequence[list[int]], size: int = 3) -> None:
    """One step for each minibatch, in packed passes of so many rows."""

    def packed_values(rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        batch = pack(SEQUENCES.take(list(rows)), CPU)
        return state_values(trainer.engine, batch), batch.mask

    for minibatch in plan:
        ranks = (distributed.rank(), distributed.world_size())

        def one_pass(rows: list[int], minibatch: list[int] = minibatch) -> Tensor:
            return loss_of(packed_values, rows or minibatch[:1], minibatch) * bool(rows)

        trainer.step(micro_batches(minibatch, SEQUENCES.lengths, size, None, *ranks), one_pass)


def trainer_on(folder: Path, zero_stage: int) -> Trainer:
    """A trainer of the value model in a folder, without its training state."""
    training = Training(zero_stage=zero_stage)
    model = load_value_model(folder, "float32")
    return Trainer(model, usual_optimizer(), lambda _step: 1.0, training)


def take_steps(start: Path, target: Path, zero_stage: int, size: int = 3) -> None:
    """The whole plan, through a checkpoint after its first step; the result in `target`."""
    tokenizer = load_tokenizer(start)
    with cut_small():
        trainer = trainer_on(start, zero_stage)
        run_steps(trainer, PLAN[:1], size)
        between = target.with_name(f"{target.name}-between")
        trainer.save(between, tokenizer)
        distributed.barrier()  # the first rank renames the folder
        trainer = trainer_on(between, zero_stage)
        trainer.load_state(between)
        run_steps(trainer, PLAN[1:], size)
        trainer.save(target, tokenizer)


def main(folder: Path) -> None:
    """On all ranks."""
    distributed.start_ranks()
    for stage in range(4):
        take_steps(folder / "start", folder / f"steps-{stage}", stage)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
