"""Stage `prm`: one update of the implicit process reward model on an iteration's batch.

In: iterations/<i>/batch.parquet, the PRM of the iteration before with its training state, the
reference (or its log-probabilities from rewards.parquet).
Out: iterations/<i>/prm, metrics/prm.json.

The loss is the cross-entropy of outcomes, with the summed implicit reward as log-odds
(arXiv 2412.01981, Eq. 5).
"""

from __future__ import annotations

from pathlib import Path

import torch

from prime_core.implicit_reward import implicit_reward, log_odds
from prime_core.layout import RunFiles
from prime_core.prm_loss import prm_cross_entropy, prm_loss
from prime_core.seeds import derive_seed
from prime_core.settings import Settings
from prime_core.stages.context import Stopwatch, finish, only_one, open_run, place_of, progress_bar
from prime_core.stages.score import logprobs_under, reference_of
from prime_core.training.batches import pad
from prime_core.training.distributed import gather
from prime_core.training.engine import Trainer, continue_training
from prime_core.training.learning_batch import LearningBatch, read_batch, read_rewards
from prime_core.training.models import device
from prime_core.training.scoring import response_logprobs
from prime_core.training.updates import minibatch_plan, step_on


def run(run_dir: Path, iteration: int) -> None:
    """Update the PRM of one iteration."""
    settings, files = open_run(run_dir)
    watch = Stopwatch()
    with only_one(files.prm(iteration), run_dir):
        batch = read_batch(files, iteration)
        reference = batch.matrix(_reference_logprobs(settings, files, iteration, batch))
        trainer, tokenizer = continue_training(
            files.prm(iteration - 1),
            settings.model.dtype,
            settings.prm.optimizer,
            settings.training.zero_stage,
        )
        torch.manual_seed(derive_seed(settings.seed, "prm", iteration))
        update = Update(trainer, batch, reference, int(tokenizer.pad_token_id), settings)
        with watch.part("train"):
            update.run(iteration)
        with watch.part("save"):
            trainer.save(files.prm(iteration), tokenizer)
        metrics = {
            "prm/loss": sum(update.losses) / len(update.losses),
            "prm/grad_norm": sum(update.norms) / len(update.norms),
            "prm/num_steps": trainer.num_steps,
            "prm/learning_rate": trainer.learning_rate,
        }
        finish(
            files.metrics(iteration, "prm"),
            metrics | watch.seconds,
            f"{place_of(iteration, settings)} prm: "
            f"loss {update.losses[0]:.4f} -> {update.losses[-1]:.4f} in "
            f"{len(update.losses)} steps, {watch.seconds['timing_s/train']:.1f} s",
        )


class Update:
    """The optimizer steps of one PRM update; `losses` and `norms` hold a number a step."""

    def __init__(
        self,
        trainer: Trainer,
        batch: LearningBatch,
        reference_logprobs: torch.Tensor,
        pad_token_id: int,
        settings: Settings,
    ) -> None:
        """Nothing is computed yet."""
        self.trainer, self.batch, self.settings = trainer, batch, settings
        self.reference_logprobs, self.pad_token_id = reference_logprobs, pad_token_id
        self.losses: list[float] = []
        self.norms: list[float] = []

    def run(self, iteration: int) -> None:
        """All epochs and minibatches."""
        prm = self.settings.prm
        plan = minibatch_plan(
            len(self.batch.sequences),
            prm.mini_batch_size,
            prm.epochs,
            self.settings.seed,
            "prm",
            iteration,
        )
        with progress_bar(len(plan), "step", "prm") as bar:
            for rows in plan:
                self._step(rows)
                bar.update()

    def _step(self, rows: list[int]) -> None:
        total = 0.0

        def loss_of(indices: list[int], counted: bool) -> torch.Tensor:
            nonlocal total
            loss = self._loss(indices, len(rows))
            total += float(loss.detach()) * counted
            return loss

        micro_batch_size = self.settings.prm.micro_batch_size
        self.norms.append(
            step_on(self.trainer, self.batch.sequences, rows, micro_batch_size, loss_of)
        )
        self.losses.append(sum(gather(total)))

    def _loss(self, rows: list[int], num_responses: int) -> torch.Tensor:
        padded = pad(self.batch.sequences.take(rows), self.pad_token_id, device())
        logprobs = response_logprobs(self.trainer.engine, padded)
        reference = self.reference_logprobs[rows, : logprobs.shape[1]].to(device())
        rewards = implicit_reward(logprobs, reference, padded.mask, self.settings.prm.beta)
        losses = prm_cross_entropy(
            log_odds(rewards, padded.mask), self.batch.outcome[rows].to(device())
        )
        return prm_loss(losses, num_responses)


def _reference_logprobs(
    settings: Settings, files: RunFiles, iteration: int, batch: LearningBatch
) -> list[list[float]]:
    """From the rewards where they were computed before the update, else from the model."""
    if settings.prm.prm_update == "after":
        rewards = read_rewards(files, iteration, batch)
        return [row.tolist() for row in rewards["reference_logprobs"]]
    return logprobs_under(reference_of(settings, files, iteration), batch, settings)
