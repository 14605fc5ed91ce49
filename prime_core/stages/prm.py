"""Stage `prm`: one update of the implicit process reward model on an iteration's batch.

In: iterations/<i>/batch.parquet, the PRM of the iteration before with its training state, the
reference (or its log-probabilities from rewards.parquet).
Out: iterations/<i>/prm, metrics/prm.json.

The loss is the cross-entropy of outcomes, with the summed implicit reward as log-odds
(arXiv 2412.01981, Eq. 5). Stopped inside, it goes on where it was (prime_core.stages.unfinished).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from prime_core.implicit_reward import implicit_reward, log_odds
from prime_core.layout import RunFiles
from prime_core.prm_loss import prm_cross_entropy, prm_loss
from prime_core.seeds import derive_seed
from prime_core.settings import Settings
from prime_core.stages.context import Stopwatch, finish, only_one, open_run, place_of
from prime_core.stages.score import logprobs_under, reference_of
from prime_core.stages.unfinished import Unfinished
from prime_core.training.distributed import gather
from prime_core.training.engine import continue_training
from prime_core.training.learning_batch import LearningBatch, read_batch, read_rewards
from prime_core.training.lora import adapter_of
from prime_core.training.passes import passes_of
from prime_core.training.scoring import response_logprobs
from prime_core.training.updates import minibatch_plan, step_on


def run(run_dir: Path, iteration: int) -> None:
    """Update the PRM of one iteration."""
    settings, files = open_run(run_dir)
    watch = Stopwatch()
    with only_one(files.prm(iteration), run_dir):
        batch = read_batch(files, iteration)
        reference = batch.matrix(_reference_logprobs(settings, files, iteration, batch))
        inputs = [files.batch(iteration), files.prm(iteration - 1)]
        inputs.append(
            files.rewards(iteration)
            if settings.prm.prm_update == "after"
            else reference_of(settings, files, iteration)
        )
        if settings.prm.lora:
            inputs.append(files.prm(0))  # the weights that stay as they are
        unfinished = Unfinished(files.prm(iteration), inputs, settings, watch)
        update = unfinished.resume(
            lambda state: Update(settings, files, iteration, batch, reference, state)
        )
        with unfinished.until_output():
            with watch.part("train"):
                unfinished.take_steps(update, _plan(settings, batch, iteration), "prm")
            with watch.part("save"):
                update.trainer.save(files.prm(iteration), update.tokenizer)
            losses, norms = update.figures["losses"], update.figures["norms"]
            metrics = {
                "prm/loss": sum(losses) / len(losses),
                "prm/grad_norm": sum(norms) / len(norms),
                "prm/num_steps": update.trainer.num_steps,
                "prm/learning_rate": update.trainer.learning_rate,
            }
            finish(
                files.metrics(iteration, "prm"),
                metrics | watch.seconds,
                f"{place_of(iteration, settings)} prm: loss {losses[0]:.4f} -> {losses[-1]:.4f} in "
                f"{len(losses)} steps, {watch.seconds['timing_s/train']:.1f} s",
            )


def _plan(settings: Settings, batch: LearningBatch, iteration: int) -> list[list[int]]:
    """All epochs' minibatches."""
    num_rows, prm = len(batch.sequences), settings.prm
    return minibatch_plan(
        num_rows, prm.mini_batch_size, prm.epochs, settings.seed, "prm", iteration
    )


class Update:
    """The optimizer steps of one PRM update; figures: each step's loss and gradient norm."""

    def __init__(
        self,
        settings: Settings,
        files: RunFiles,
        iteration: int,
        batch: LearningBatch,
        reference_logprobs: torch.Tensor,
        state: Path | None,
    ) -> None:
        """From the PRM of the iteration before, or the training state of an earlier start."""
        self.trainer, self.tokenizer = continue_training(
            files.prm(iteration - 1),
            settings.model.dtype,
            settings.prm.optimizer,
            settings.training,
            state,
            adapter_of(settings.prm.lora, "prm", files.prm(0), settings.seed),
        )
        if state is None:
            torch.manual_seed(derive_seed(settings.seed, "prm", iteration))
        self.batch, self.settings = batch, settings
        self.reference_logprobs = reference_logprobs
        self.passes = passes_of(
            settings.training, settings.prm.micro_batch_size, self.tokenizer, self.trainer.packs
        )
        self.figures: dict[str, Any] = {"losses": [], "norms": []}

    def step(self, rows: list[int]) -> None:
        """One optimizer step on these responses."""
        total = 0.0

        def loss_of(indices: list[int], counted: bool) -> torch.Tensor:
            nonlocal total
            loss = self._loss(indices, len(rows))
            total += float(loss.detach()) * counted
            return loss

        norm = step_on(self.trainer, self.batch.sequences, rows, self.passes, loss_of)
        self.figures["norms"].append(norm)
        self.figures["losses"].append(sum(gather(total)))

    def _loss(self, rows: list[int], num_responses: int) -> torch.Tensor:
        batch = self.passes.batch(self.batch.sequences.take(rows))
        logprobs = response_logprobs(
            self.trainer.engine, batch, chunk_tokens=self.passes.chunk_tokens
        )
        reference = self.reference_logprobs[rows, : logprobs.shape[1]].to(logprobs.device)
        rewards = implicit_reward(logprobs, reference, batch.mask, self.settings.prm.beta)
        outcome = self.batch.outcome[rows].to(logprobs.device)
        losses = prm_cross_entropy(log_odds(rewards, batch.mask), outcome)
        return prm_loss(losses, num_responses)


def _reference_logprobs(
    settings: Settings, files: RunFiles, iteration: int, batch: LearningBatch
) -> list[list[float]]:
    """From the rewards where they were computed before the update, else from the model."""
    if settings.prm.prm_update == "after":
        rewards = read_rewards(files, iteration, batch)
        return [row.tolist() for row in rewards["reference_logprobs"]]
    return logprobs_under(reference_of(settings, files, iteration), batch, settings)
