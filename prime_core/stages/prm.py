"""Stage `prm`: one update of the implicit process reward model on an iteration's batch.

In: iterations/<i>/batch.parquet, the PRM of the iteration before with its training state, the
reference (or its log-probabilities from rewards.parquet).
Out: iterations/<i>/prm, metrics/prm.json.

The loss is the cross-entropy of outcomes, with the summed implicit reward as log-odds
(arXiv 2412.01981, Eq. 5); detached DPO, whose opponents and weights come from the PRM as it was
before the update, as in verl's PRIME recipe; or DPO over all pairs of a group (dpo_pairs: iStar,
arXiv 2509.19199). Interrupted, it resumes after its last step
(prime_core.training.step_checkpoint).

Raises NoPairs where dpo_pairs has none.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from prime_core.groups import varies_within
from prime_core.run.layout import RunFiles
from prime_core.run.prm_folders import reward_reference_folder
from prime_core.run.records import Made
from prime_core.run.work import finish, open_run, progress_label
from prime_core.runtime.locks import only_one
from prime_core.runtime.stopwatch import Stopwatch
from prime_core.settings.run import Settings
from prime_core.training.distributed import start_ranks
from prime_core.training.implicit_rewards import logprobs_under
from prime_core.training.learning_batch import LearningBatch, read_batch, read_rewards
from prime_core.training.prm_update import PrmUpdate
from prime_core.training.updates import minibatch_plan, trained_update


class NoPairs(ValueError):
    """No group has responses of different outcomes: there is nothing to compare."""


def run(run_dir: Path, iteration: int) -> None:
    """Update the PRM of one iteration."""
    settings, files = open_run(run_dir)
    prm, watch = settings.prm, Stopwatch()
    start_ranks()  # before the first forward pass, which they share
    with only_one(files.prm(iteration), run_dir):
        batch = read_batch(files, iteration)
        reference = _reference_logprobs(settings, files, iteration, batch)
        plan = _plan(settings, batch, iteration)
        inputs = _inputs(settings, files, iteration)
        with trained_update(
            lambda state: PrmUpdate(settings, files, iteration, batch, reference, state),
            lambda _update: plan,
            files.prm(iteration),
            inputs,
            settings,
            watch,
            name="prm",
            # Kept with the checkpoint, so that a resumed update has the same opponents.
            # docs/decisions.md#detached-dpo
            before={"pairs": PrmUpdate.first_pairs} if prm.objective == "dpo_detached" else {},
        ) as update:
            with watch.part("save"):
                made = Made(files.root, inputs)
                update.trainer.save(files.prm(iteration), update.tokenizer, made)
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
                f"{progress_label(iteration, settings)} prm: "
                f"loss {losses[0]:.4f} -> {losses[-1]:.4f} in {len(losses)} steps, "
                f"{watch.seconds['timing_s/train']:.1f} s",
            )


def _plan(settings: Settings, batch: LearningBatch, iteration: int) -> list[list[int]]:
    """All epochs' minibatches, of every response; with dpo_pairs of whole groups with pairs."""
    prm = settings.prm
    # Even those that the policy's correction rejects: their outcomes are valid.
    rows, group = list(range(len(batch.sequences))), None
    if prm.objective == "dpo":
        rows = varies_within(batch.outcome, batch.group).nonzero().flatten().tolist()
        if not rows:
            # Not a loss of zero: the filter has let through what says nothing.
            raise NoPairs(
                f"iteration {iteration}: no prompt of the batch has responses of different "
                "outcomes, which prm.loss_type 'dpo_pairs' compares; expected "
                "filter.filter_accuracy true with filter.accuracy_lower_bound above 0 and "
                "filter.accuracy_upper_bound below 1, got "
                f"{str(settings.filter.filter_accuracy).lower()}, "
                f"{settings.filter.accuracy_lower_bound} and "
                f"{settings.filter.accuracy_upper_bound}"
            )
        group = batch.group[rows].unique(return_inverse=True)[1].tolist()
    size, epochs = prm.mini_batch_size, prm.epochs
    return minibatch_plan(rows, size, epochs, settings.seed, "prm", iteration, group)


def _inputs(settings: Settings, files: RunFiles, iteration: int) -> list[Path]:
    reference = (
        files.rewards(iteration)
        if settings.prm.prm_update == "after"
        else reward_reference_folder(settings, files, iteration)
    )
    frozen = [files.prm(0)] if settings.prm.lora else []  # the frozen weights
    return [files.batch(iteration), files.prm(iteration - 1), reference, *frozen]


def _reference_logprobs(
    settings: Settings, files: RunFiles, iteration: int, batch: LearningBatch
) -> Tensor:
    """[B, T], from the rewards where they were computed before the update, else from the model."""
    if settings.prm.prm_update == "after":
        return batch.matrix(read_rewards(files, iteration, batch)["reference_logprobs"])
    folder = reward_reference_folder(settings, files, iteration)
    return batch.matrix(logprobs_under(folder, batch, settings))
