"""Stage `score`: implicit rewards of an iteration's batch.

In: iterations/<i>/batch.parquet, the PRM (of the iteration before; after its update where
prm_update is `before`), the reference. Out: iterations/<i>/rewards.parquet, metrics/score.json.

docs/decisions.md#scoring-stage
docs/decisions.md#rewards-carry-beta
"""

from __future__ import annotations

from pathlib import Path

import torch

from prime_core.implicit_reward import implicit_reward, response_score, shaped_reward
from prime_core.prm_loss import prm_accuracy, prm_ranking_accuracy
from prime_core.run.layout import RunFiles
from prime_core.run.prm_folders import reward_reference_folder, scoring_prm_folder
from prime_core.run.tables import REWARDS, write_table
from prime_core.run.work import finish, open_run, progress_label
from prime_core.runtime.locks import only_one
from prime_core.runtime.rank import is_first_rank
from prime_core.runtime.stopwatch import Metrics, Stopwatch
from prime_core.settings.run import Settings
from prime_core.training.distributed import join_ranks
from prime_core.training.implicit_rewards import logprobs_under
from prime_core.training.learning_batch import LearningBatch, read_batch
from prime_core.training.step_marks import step_end_mask


class ZeroRewards(ValueError):
    """The PRM equals its reference and will never change."""


def run(run_dir: Path, iteration: int) -> None:
    """Score the batch of one iteration."""
    settings, files = open_run(run_dir)
    watch = Stopwatch()
    join_ranks()
    with only_one(files.rewards(iteration), run_dir):
        batch = read_batch(files, iteration)
        with watch.part("forward"):
            reference = logprobs_under(
                reward_reference_folder(settings, files, iteration), batch, settings
            )
            prm = logprobs_under(scoring_prm_folder(settings, files, iteration), batch, settings)
        rewards = implicit_reward(
            batch.matrix(prm), batch.matrix(reference), batch.mask, settings.prm.beta
        )
        # The settings require a trained PRM; only its rewards show whether it is one.
        if settings.prm.prm_update == "frozen" and not bool(rewards.any()):
            raise ZeroRewards(
                f"the first PRM ({_origin(settings)}) equals the reference, and prm.prm_update "
                "'frozen' will never change it: all rewards are zero; name a PRM that was trained"
            )
        if is_first_rank():  # all ranks have all rows
            _write(files.rewards(iteration), batch, rewards, reference, settings, files)
        # Of the rewards before shaping: their sum is the log-odds that the loss trains.
        scores = response_score(rewards, batch.mask, settings.prm.response_score)
        metrics = _metrics(rewards, scores, batch) | watch.seconds
        finish(
            files.metrics(iteration, "score"),
            metrics,
            f"{progress_label(iteration, settings)} score: {_line(metrics)}",
        )


def _write(
    path: Path,
    batch: LearningBatch,
    rewards: torch.Tensor,
    reference: list[list[float]],
    settings: Settings,
    files: RunFiles,
) -> None:
    shaped = _shaped(rewards, batch, settings, files)
    keys = zip(batch.rows["prompt_id"], batch.rows["sample"], strict=True)
    rows = [
        {
            "prompt_id": prompt_id,
            "sample": sample,
            "implicit_reward": shaped[index, : len(reference[index])].tolist(),
            # Kept for the PRM's update and the policy's KL, which would otherwise run the reference
            # again.
            "reference_logprobs": reference[index],
        }
        for index, (prompt_id, sample) in enumerate(keys)
    ]
    write_table(path, rows, REWARDS)


def _origin(settings: Settings) -> str:
    offline, path = settings.prm.offline, settings.prm.path
    return f"prm.offline.file {offline.file}" if offline else f"prm.path {path}"


def _shaped(
    rewards: torch.Tensor, batch: LearningBatch, settings: Settings, files: RunFiles
) -> torch.Tensor:
    ends = None
    if settings.prm.prime_granularity == "step":
        ends = step_end_mask(batch, files.policy(0))
    return shaped_reward(
        rewards,
        batch.mask,
        granularity=settings.prm.prime_granularity,
        prime_norm=settings.prm.prime_norm,
        eos_reward=settings.prm.eos_reward,
        step_ends=ends,
    )


def _metrics(rewards: torch.Tensor, z: torch.Tensor, batch: LearningBatch) -> Metrics:
    """Figures where they exist: a batch without correct responses has no log-odds of them."""
    correct = batch.outcome > 0.5
    num_right, num_pairs = prm_ranking_accuracy(z, batch.outcome, batch.group)
    metrics = {
        "reward/implicit_mean": float(rewards.sum() / batch.mask.sum()),
        "reward/outcome_mean": float(batch.outcome.sum() / len(batch.outcome)),
        "prm/num_pairs": num_pairs,
        "prm/accuracy": float(prm_accuracy(z, batch.outcome)),
    }
    for name, rows in {"correct": correct, "incorrect": ~correct}.items():
        if rows.any():
            metrics[f"reward/log_odds_{name}"] = float(z[rows].sum() / rows.sum())
    if num_pairs:
        metrics["prm/ranking_accuracy"] = num_right / num_pairs
    return metrics


def _line(metrics: Metrics) -> str:
    """The stage's line: ranking accuracy, and log-odds by outcome."""
    parts = ["PRM has no pairs to rank"]
    if "prm/ranking_accuracy" in metrics:
        share, number = metrics["prm/ranking_accuracy"], metrics["prm/num_pairs"]
        parts = [f"PRM ranks {share:.3f} of {number:.0f} pairs correctly"]
    parts += [
        f"log-odds of {name} responses {metrics[key]:+.3f}"
        for name in ("correct", "incorrect")
        if (key := f"reward/log_odds_{name}") in metrics
    ]
    return ", ".join(parts)
