"""Stage `value`: one update of PPO's value model on an iteration's batch.

In: iterations/<i>/batch.parquet, values.parquet, rewards.parquet (unless prm_update is `none`), the
value model of the iteration before with its training state. Out: iterations/<i>/value,
metrics/value.json.

The critic's gradient steps; its forward pass before them is the stage `values`. It learns the
returns that belong to the policy's advantages (arXiv 1707.06347; loss in prime_core.value_loss),
averaged over whole minibatches. Interrupted, it resumes after its last step
(prime_core.training.step_checkpoint).
"""

from __future__ import annotations

from pathlib import Path

from prime_core.models.start_models import previous_value_folder
from prime_core.run.layout import RunFiles
from prime_core.run.records import Made
from prime_core.run.work import finish, open_run, progress_label
from prime_core.runtime.locks import only_one
from prime_core.runtime.stopwatch import Stopwatch
from prime_core.settings.run import Settings
from prime_core.training.batch_advantages import (
    batch_advantages,
    batch_rewards,
    batch_step_ends,
    batch_values,
)
from prime_core.training.distributed import start_ranks
from prime_core.training.learning_batch import read_batch
from prime_core.training.updates import minibatch_plan, trained_update
from prime_core.training.value_update import ValueUpdate


def run(run_dir: Path, iteration: int) -> None:
    """Update the value model of one iteration."""
    settings, files = open_run(run_dir)
    value, watch = settings.value, Stopwatch()
    start_ranks()  # before the first forward pass, which they share
    with only_one(files.value(iteration), run_dir):
        batch = read_batch(files, iteration)
        rewards = batch_rewards(settings, files, iteration, batch)
        values = batch_values(settings, files, iteration, batch, rewards)
        assert values is not None, "the workflow has this stage for a value model alone"
        ends = batch_step_ends(settings, batch, files.policy(0))
        returns = batch_advantages(settings, batch, rewards, values, step_ends=ends).returns
        # All rows: the correction is for the policy's ratio, and values have none.
        rows, size = range(len(batch.sequences)), value.mini_batch_size
        plan = minibatch_plan(rows, size, value.epochs, settings.seed, "value", iteration)
        inputs = _inputs(settings, files, iteration)
        with trained_update(
            lambda state: ValueUpdate(settings, files, iteration, batch, values, returns, state),
            lambda _update: plan,
            files.value(iteration),
            inputs,
            settings,
            watch,
            name="value",
        ) as update:
            with watch.part("save"):
                made = Made(files.root, inputs)
                update.trainer.save(files.value(iteration), update.tokenizer, made)
            losses = update.figures["losses"]
            finish(
                files.metrics(iteration, "value"),
                update.metrics() | watch.seconds,
                f"{progress_label(iteration, settings)} value: "
                f"loss {losses[0]:.4f} -> {losses[-1]:.4f} in {len(losses)} steps, "
                f"{watch.seconds['timing_s/train']:.1f} s",
            )


def _inputs(settings: Settings, files: RunFiles, iteration: int) -> list[Path]:
    rewards = [] if settings.prm.prm_update == "none" else [files.rewards(iteration)]
    start = previous_value_folder(settings, files, iteration)
    return [files.batch(iteration), files.values(iteration), start, *rewards]
