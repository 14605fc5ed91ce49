"""Stage `policy`: advantages, and one update of the policy on an iteration's batch.

In: iterations/<i>/batch.parquet, rewards.parquet (unless prm_update is `none`), values.parquet
(with a value model), step_values.parquet (with Monte-Carlo values), the policy of the iteration
before with its training state and, with policy.kl_controller `adaptive`, its metrics/policy.json.
Out: iterations/<i>/policy, metrics/policy.json.

Advantages are computed over the whole batch; the clipped surrogate is averaged over whole
minibatches (PRIME, arXiv 2502.01456, Eq. 2 and 5). Interrupted, it resumes after its last step
(prime_core.training.step_checkpoint).
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from prime_core.run.kl_coef import NEXT_COEF, kl_coef_files
from prime_core.run.layout import RunFiles
from prime_core.run.prm_folders import reward_reference_folder
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
    visit_metrics,
)
from prime_core.training.distributed import start_ranks
from prime_core.training.implicit_rewards import logprobs_under
from prime_core.training.learning_batch import LearningBatch, read_batch, read_rewards
from prime_core.training.policy_update import PolicyUpdate
from prime_core.training.reference_kl import ReferenceKl
from prime_core.training.updates import minibatch_plan, trained_update

# Kept with the checkpoint: a resumed update has moved on, and its ratio is still to the policy that
# it began with.
_BEFORE = {"old_logprobs": PolicyUpdate.old_logprobs, "probe": PolicyUpdate.probe_logprobs}


def run(run_dir: Path, iteration: int) -> None:
    """Update the policy of one iteration."""
    settings, files = open_run(run_dir)
    watch = Stopwatch()
    start_ranks()  # before the first forward pass, which they share
    with only_one(files.policy(iteration), run_dir):
        batch = read_batch(files, iteration, settings.batch_columns)
        rewards = batch_rewards(settings, files, iteration, batch)
        values = batch_values(settings, files, iteration, batch, rewards)
        ends = batch_step_ends(settings, batch, files.policy(0))
        logprobs = _reference_logprobs(settings, files, iteration, batch)
        reference = ReferenceKl.of_iteration(settings, files, iteration, logprobs)
        inputs = _inputs(settings, files, iteration)
        with trained_update(
            lambda state: PolicyUpdate(
                settings,
                files,
                iteration,
                batch,
                # Of responses that the correction rejects as well: they still say how hard their
                # prompt was. docs/decisions.md#sampler-logprobs
                lambda penalty: batch_advantages(
                    settings, batch, rewards, values, penalty, ends, settings.invalid_action_penalty
                ),
                reference,
                state,
            ),
            lambda update: _plan(settings, update, iteration),
            files.policy(iteration),
            inputs,
            settings,
            watch,
            name="policy",
            before=_BEFORE,
        ) as update:
            metrics = update.metrics()
            # docs/decisions.md#records: of figures, the one that the next iteration reads.
            facts = {name: metrics[name] for name in (NEXT_COEF,) if name in metrics}
            with watch.part("save"):
                probe, made = update.probe(), Made(files.root, inputs, facts)
                update.trainer.save(files.policy(iteration), update.tokenizer, made, probe)
            metrics |= visit_metrics(settings, files, batch) | watch.seconds
            finish(
                files.metrics(iteration, "policy"),
                metrics,
                f"{progress_label(iteration, settings)} policy: {len(batch.sequences)} responses, "
                f"{len(update.figures['norms'])} steps, entropy {metrics['actor/entropy']:.3f}, "
                f"clipped {metrics['actor/clip_fraction']:.4f}, "
                f"{watch.seconds['timing_s/train']:.1f} s",
            )


def _plan(settings: Settings, update: PolicyUpdate, iteration: int) -> list[list[int]]:
    """All epochs' minibatches, of the responses that have a token to train on.

    Raises SamplerMismatch, AllRejected: before the first step, so that no weight has moved.
    """
    update.check_sampler()
    size, epochs = settings.policy.ppo_mini_batch_size, settings.policy.ppo_epochs
    # A minibatch of rejected responses alone would have nothing in the loss's denominator.
    # docs/decisions.md#sampler-logprobs
    rows = update.correction.rows
    return minibatch_plan(rows, size, epochs, settings.seed, "policy", iteration)


def _inputs(settings: Settings, files: RunFiles, iteration: int) -> list[Path]:
    rewards = [] if settings.prm.prm_update == "none" else [files.rewards(iteration)]
    values = [files.values(iteration)] if settings.has_value_model else []
    values += [files.step_values(iteration)] if settings.draws_continuations else []
    kl = kl_coef_files(settings, files, iteration)
    before = [files.policy(iteration - 1), files.reference]
    return [files.batch(iteration), *before, *rewards, *values, *kl]


def _reference_logprobs(
    settings: Settings, files: RunFiles, iteration: int, batch: LearningBatch
) -> Tensor | None:
    """The KL's [B, T], under the start model; None where there are none and KL has no weight."""
    temperature = settings.rollout.temperature
    is_scored = settings.prm.prm_update != "none"
    # The KL compares at the temperature of sampling. Rewards know none: their reference's numbers
    # are the same at temperature 1 alone, and where their reference is the start model.
    same_model = reward_reference_folder(settings, files, iteration) == files.reference
    if is_scored and same_model and temperature == 1:
        return batch.matrix(read_rewards(files, iteration, batch)["reference_logprobs"])
    if settings.policy.kl_coef == 0:
        return None
    return batch.matrix(logprobs_under(files.reference, batch, settings, temperature))
