"""Stage `value`: one update of PPO's value model on an iteration's batch.

In: iterations/<i>/batch.parquet, values.parquet, rewards.parquet (unless prm_update is `none`), the
value model of the iteration before with its training state. Out: iterations/<i>/value,
metrics/value.json.

It learns the returns that the policy's advantages were made of (arXiv 1707.06347; loss in
prime_core.value_loss), averaged over whole minibatches. Stopped inside, it goes on where it was
(prime_core.training.step_checkpoint).
"""

from __future__ import annotations

from pathlib import Path

from prime_core.models.start_models import previous_value
from prime_core.run.layout import RunFiles
from prime_core.run.work import finish, open_run, place_of
from prime_core.runtime.locks import only_one
from prime_core.runtime.stopwatch import Stopwatch
from prime_core.settings.run import Settings
from prime_core.training.batch_advantages import batch_rewards, batch_values, estimates
from prime_core.training.learning_batch import LearningBatch, read_batch
from prime_core.training.step_checkpoint import Unfinished
from prime_core.training.updates import minibatch_plan
from prime_core.training.value_update import Update


def run(run_dir: Path, iteration: int) -> None:
    """Update the value model of one iteration."""
    settings, files = open_run(run_dir)
    watch = Stopwatch()
    with only_one(files.value(iteration), run_dir):
        batch = read_batch(files, iteration)
        rewards = batch_rewards(settings, files, iteration, batch)
        values = batch_values(settings, files, iteration, batch, rewards)
        assert values is not None, "the workflow has this stage for a value model alone"
        returns = estimates(settings, batch, rewards, values).returns
        unfinished = Unfinished(
            files.value(iteration), _inputs(settings, files, iteration), settings, watch
        )
        update = unfinished.resume(
            lambda state: Update(settings, files, iteration, batch, values, returns, state)
        )
        with unfinished.until_output():
            with watch.part("train"):
                unfinished.take_steps(update, _plan(settings, batch, iteration), "value")
            with watch.part("save"):
                update.trainer.save(files.value(iteration), update.tokenizer)
            losses = update.figures["losses"]
            finish(
                files.metrics(iteration, "value"),
                update.metrics() | watch.seconds,
                f"{place_of(iteration, settings)} value: loss {losses[0]:.4f} -> {losses[-1]:.4f} "
                f"in {len(losses)} steps, {watch.seconds['timing_s/train']:.1f} s",
            )


def _inputs(settings: Settings, files: RunFiles, iteration: int) -> list[Path]:
    rewards = [] if settings.prm.prm_update == "none" else [files.rewards(iteration)]
    start = previous_value(settings, files, iteration)
    return [files.batch(iteration), files.values(iteration), start, *rewards]


def _plan(settings: Settings, batch: LearningBatch, iteration: int) -> list[list[int]]:
    """All epochs' minibatches."""
    value, num_rows = settings.value, len(batch.sequences)
    return minibatch_plan(
        num_rows, value.mini_batch_size, value.epochs, settings.seed, "value", iteration
    )
