"""Stage `policy`: advantages, and one update of the policy on an iteration's batch.

In: iterations/<i>/batch.parquet, rewards.parquet (unless prm_update is `none`), values.parquet
(with a value model), the policy of the iteration before with its training state.
Out: iterations/<i>/policy, metrics/policy.json.

Advantages are computed over the whole batch; the clipped surrogate is averaged over whole
minibatches (PRIME, arXiv 2502.01456, Eq. 2 and 5). Stopped inside, it goes on where it was
(prime_core.training.step_checkpoint).
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from prime_core.run.layout import RunFiles
from prime_core.run.prm_folders import reference_of
from prime_core.run.work import finish, open_run, place_of
from prime_core.runtime.locks import only_one
from prime_core.runtime.stopwatch import Stopwatch
from prime_core.settings.run import Settings
from prime_core.training.batch_advantages import batch_values, estimates
from prime_core.training.implicit_rewards import logprobs_under
from prime_core.training.learning_batch import LearningBatch, read_batch, read_rewards
from prime_core.training.policy_update import Update
from prime_core.training.step_checkpoint import Unfinished
from prime_core.training.updates import minibatch_plan


def run(run_dir: Path, iteration: int) -> None:
    """Update the policy of one iteration."""
    settings, files = open_run(run_dir)
    watch = Stopwatch()
    with only_one(files.policy(iteration), run_dir):
        batch = read_batch(files, iteration)
        rewards, reference = _rewards(settings, files, iteration, batch)
        values = batch_values(settings, files, iteration, batch, rewards)
        worth = estimates(settings, batch, rewards, values)
        inputs = _inputs(settings, files, iteration)
        unfinished = Unfinished(files.policy(iteration), inputs, settings, watch)
        update = unfinished.resume(
            lambda state: Update(settings, files, iteration, batch, worth, reference, state)
        )
        with unfinished.until_output():
            if "old_logprobs" not in update.figures:
                with watch.part("old_logprobs"):
                    update.compute_old_logprobs()
            with watch.part("train"):
                unfinished.take_steps(update, _plan(settings, update, iteration), "policy")
            with watch.part("save"):
                update.trainer.save(files.policy(iteration), update.tokenizer)
            metrics = update.metrics() | watch.seconds
            finish(
                files.metrics(iteration, "policy"),
                metrics,
                f"{place_of(iteration, settings)} policy: {len(batch.sequences)} responses, "
                f"{len(update.figures['norms'])} steps, entropy {metrics['actor/entropy']:.3f}, "
                f"clipped {metrics['actor/clip_fraction']:.4f}, "
                f"{watch.seconds['timing_s/train']:.1f} s",
            )


def _plan(settings: Settings, update: Update, iteration: int) -> list[list[int]]:
    """All epochs' minibatches, of the responses that have a token to train on."""
    rows, policy = update.correction.rows, settings.policy
    plan = minibatch_plan(
        len(rows),
        policy.ppo_mini_batch_size,
        policy.ppo_epochs,
        settings.seed,
        "policy",
        iteration,
    )
    return [[rows[place] for place in places] for places in plan]


def _inputs(settings: Settings, files: RunFiles, iteration: int) -> list[Path]:
    rewards = [] if settings.prm.prm_update == "none" else [files.rewards(iteration)]
    values = [files.values(iteration)] if settings.has_value_model else []
    return [files.batch(iteration), files.policy(iteration - 1), files.reference, *rewards, *values]


def _rewards(
    settings: Settings, files: RunFiles, iteration: int, batch: LearningBatch
) -> tuple[Tensor | None, Tensor | None]:
    """Implicit rewards and reference log-probabilities, where the settings ask for them.

    The KL compares the policy with the reference at the temperature of sampling; the rewards'
    own reference has none.
    """
    rewards, temperature = None, settings.rollout.temperature
    if settings.prm.prm_update != "none":
        table = read_rewards(files, iteration, batch)
        rewards = batch.matrix([row.tolist() for row in table["implicit_reward"]])
        if reference_of(settings, files, iteration) == files.reference and temperature == 1:
            return rewards, batch.matrix([row.tolist() for row in table["reference_logprobs"]])
    if settings.policy.kl_coef == 0:
        return rewards, None
    rows = logprobs_under(files.reference, batch, settings, temperature)
    return rewards, batch.matrix(rows)
