"""Stage `prm`: one update of the implicit process reward model on an iteration's batch.

In: iterations/<i>/batch.parquet, the PRM of the iteration before with its training state, the
reference (or its log-probabilities from rewards.parquet).
Out: iterations/<i>/prm, metrics/prm.json.

The loss is the cross-entropy of outcomes, with the summed implicit reward as log-odds
(arXiv 2412.01981, Eq. 5), or detached DPO, whose opponents and weights come from the PRM as it was
before the update, as in verl's PRIME recipe. Stopped inside, it goes on where it was
(prime_core.training.step_checkpoint).
"""

from __future__ import annotations

from pathlib import Path

from prime_core.run.layout import RunFiles
from prime_core.run.prm_folders import reference_of
from prime_core.run.work import finish, open_run, place_of
from prime_core.runtime.locks import only_one
from prime_core.runtime.stopwatch import Stopwatch
from prime_core.settings.run import Settings
from prime_core.training.implicit_rewards import logprobs_under
from prime_core.training.learning_batch import LearningBatch, read_batch, read_rewards
from prime_core.training.prm_update import Update
from prime_core.training.step_checkpoint import Unfinished
from prime_core.training.updates import minibatch_plan


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
            if settings.prm.loss_type == "dpo" and "pairs" not in update.figures:
                with watch.part("pairs"):
                    update.compute_pairs()
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


def _reference_logprobs(
    settings: Settings, files: RunFiles, iteration: int, batch: LearningBatch
) -> list[list[float]]:
    """From the rewards where they were computed before the update, else from the model."""
    if settings.prm.prm_update == "after":
        rewards = read_rewards(files, iteration, batch)
        return [row.tolist() for row in rewards["reference_logprobs"]]
    return logprobs_under(reference_of(settings, files, iteration), batch, settings)
