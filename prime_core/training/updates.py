"""Optimizer steps over minibatches: what SFT, the first PRM and the updates of an iteration share.

In: what a stage learns from, the models as the stage before left them. Out: a trained model and the
figures of its steps. A stage that was stopped resumes after its last step
(prime_core.training.step_checkpoint).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from prime_core.models.load import load_tokenizer
from prime_core.run.layout import RunFiles
from prime_core.run.records import checked_weights
from prime_core.run.seeds import derive_seed, generator
from prime_core.runtime.stopwatch import Stopwatch
from prime_core.settings.prm import Offline
from prime_core.settings.run import Settings, Sft
from prime_core.training.batches import Sequences, group_minibatches, minibatches
from prime_core.training.engine import Trainer, begin_training, continue_training
from prime_core.training.kept_trainer import keep, kept_or_new
from prime_core.training.lora import adapter_of
from prime_core.training.passes import Passes
from prime_core.training.step_checkpoint import StepCheckpoint, Update

U = TypeVar("U", bound=Update)
NOTHING: Mapping[str, Callable[[Any], Any]] = MappingProxyType({})


@contextmanager
def trained_update(
    make: Callable[[Path | None], U],
    plan: Callable[[U], Sequence[list[int]]],
    output: Path,
    inputs: Sequence[Path],
    settings: Settings,
    watch: Stopwatch,
    *,
    name: str,
    before: Mapping[str, Callable[[U], Any]] = NOTHING,
) -> Iterator[U]:
    """An update after its last step; within, its output and figures are written.

    make(state): the update, from the training state in this folder if there is one. plan: rows of
    each step. inputs: what the output depends on, apart from the settings. before: figures that the
    first step needs, computed once and saved like those of the steps. Raises Interrupted.
    """
    checkpoint = StepCheckpoint(output, inputs, settings, watch)
    update = checkpoint.resume(make)
    # The caller's writing is inside as well: a stage that is killed between its weights and its
    # figures still has the checkpoint to resume from.
    with checkpoint.until_output():
        for figure, compute in before.items():
            # A resumed update brings them: computed again, they would come from weights that have
            # moved.
            if figure not in update.figures:
                with watch.part(figure):
                    update.figures[figure] = compute(update)
        with watch.part("train"):
            checkpoint.take_steps(update, plan(update), name)
        yield update
        keep(update.trainer, output)


def minibatch_plan(
    rows: Sequence[int],
    size: int,
    epochs: int,
    seed: int,
    stage: str,
    iteration: int,
    group: Sequence[int] | None = None,
) -> list[list[int]]:
    """The minibatches of one update, epoch after epoch, each a fresh partition of the rows.

    group: of each of the rows, where minibatches are to hold whole groups.
    """

    def parts(epoch: int) -> list[list[int]]:
        order = generator(seed, stage, iteration, epoch)
        if group is None:
            return minibatches(len(rows), size, order)
        return group_minibatches(group, size, order)

    # Drawn from the epoch's own seed, not from a running stream: a stage that resumes draws the
    # same plan, and finds its place in it by the number of steps.
    return [[rows[index] for index in part] for epoch in range(epochs) for part in parts(epoch)]


def take_step(
    trainer: Trainer,
    sequences: Sequences,
    rows: list[int],
    passes: Passes,
    loss_of: Callable[[list[int], bool], Tensor],
) -> float:
    """One optimizer step on a minibatch; returns the gradient norm.

    loss_of(rows, counted) is a pass's part of the minibatch's loss. Where this rank has no
    rows left it is asked for any row with counted False, and its loss weighs nothing: the ranks'
    collective operations have to meet.
    """

    def weighed(indices: list[int]) -> Tensor:
        counted = bool(indices)
        # Times 0, not skipped: the backward pass has collective operations as well.
        return loss_of(indices or rows[:1], counted) * counted

    return trainer.step(passes.of_rank(rows, sequences), weighed)


def iteration_trainer(
    settings: Settings,
    files: RunFiles,
    stage: Literal["policy", "prm"],
    iteration: int,
    state: Path | None,
) -> tuple[Trainer, PreTrainedTokenizerBase]:
    """The policy or PRM as the iteration before left it, or as an earlier start did (state)."""
    section = settings.policy if stage == "policy" else settings.prm
    folder = files.policy if stage == "policy" else files.prm
    dtype, optimizer, training = settings.model.dtype, section.optimizer, settings.training
    # Adapters always train beside the first model's weights, so folder(0) is needed as well.
    # docs/decisions.md#adapters
    checked_weights(folder(0), files.root)
    adapter = adapter_of(section.lora, stage, folder(0), settings.seed)
    start = checked_weights(folder(iteration - 1), files.root)
    # What a run begins with need not have a state; its own updates always leave one.
    trained = iteration - 1 > settings.start
    trainer = kept_or_new(
        start,
        state,
        {"dtype": dtype, "optimizer": optimizer, "training": training, "lora": adapter},
        lambda: continue_training(
            start, dtype, optimizer, training, state, adapter, trained=trained
        ),
    )
    seed_update(settings, stage, iteration, state)
    return trainer, load_tokenizer(start)


def seed_update(settings: Settings, stage: str, iteration: int, state: Path | None) -> None:
    """Seed torch (dropout draws from it), unless a state brings its random numbers along."""
    if state is None:
        torch.manual_seed(derive_seed(settings.seed, stage, iteration))


def first_trainer(
    settings: Settings,
    section: Sft | Offline,
    key: Literal["sft", "prm.offline"],
    start: Path,
    num_steps: int,
    state: Path | None,
) -> Trainer:
    """A trainer of a model that reinforcement learning starts from, by its own schedule.

    key: of the section, for errors and seeds. state: as in `trained_update`.
    """
    # The stage of the section prm.offline is called prm_offline.
    torch.manual_seed(derive_seed(settings.seed, key.replace(".", "_")))
    return begin_training(
        start,
        settings.model.dtype,
        section.optimizer,
        lambda step: warmup_cosine(step, num_steps, section.warmup_ratio),
        settings.training,
        state,
        adapter_of(section.lora, key, start, settings.seed),
    )


def warmup_cosine(step: int, num_steps: int, warmup_ratio: float) -> float:
    """Factor on the peak rate: linear warm-up, then a half cosine down to 0."""
    num_warmup = round(num_steps * warmup_ratio)
    if step < num_warmup:
        # + 1, or the first step would have the rate 0 and be wasted.
        return (step + 1) / num_warmup
    progress = (step - num_warmup) / max(num_steps - num_warmup, 1)
    return 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
