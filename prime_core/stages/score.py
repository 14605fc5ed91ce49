"""Stage `score`: implicit rewards of an iteration's batch.

In: iterations/<i>/batch.parquet, the PRM (of the iteration before; after its update where
prm_update is `before`), the reference. Out: iterations/<i>/rewards.parquet, metrics/score.json.

Rows are saved beside the output as they come, so that a killed job computes only the rest.

docs/decisions.md#scoring-stage
docs/decisions.md#rewards-carry-beta
"""

from __future__ import annotations

from pathlib import Path

import torch

from prime_core.evaluation.statistics.intervals import ratio_interval
from prime_core.evaluation.step_truth import true_steps, truth_metrics
from prime_core.implicit_reward import implicit_reward, response_score, shaped_reward
from prime_core.prm_loss import prm_accuracy, prm_ranking_accuracy
from prime_core.run.layout import RunFiles
from prime_core.run.prm_folders import reward_reference_folder, scoring_prm_folder
from prime_core.run.records import Made, checked_weights
from prime_core.run.tables import REWARDS, write_table
from prime_core.run.work import finish, open_run, progress_label
from prime_core.runtime.locks import only_one
from prime_core.runtime.partial_rows import partial_path, remove_partial
from prime_core.runtime.rank import is_first_rank
from prime_core.runtime.stopwatch import Metrics, Stopwatch
from prime_core.settings.run import Settings
from prime_core.training.distributed import join_ranks
from prime_core.training.implicit_rewards import logprobs_under
from prime_core.training.learning_batch import LearningBatch, read_batch
from prime_core.training.step_marks import reward_marks, token_pieces


class ZeroRewards(ValueError):
    """The PRM equals its reference and will never change."""


def run(run_dir: Path, iteration: int) -> None:
    """Score the batch of one iteration."""
    settings, files = open_run(run_dir)
    watch = Stopwatch()
    join_ranks()
    output = files.rewards(iteration)
    with only_one(output, run_dir):
        truth = ["true_outcome"] if settings.verification.flips else []
        batch = read_batch(files, iteration, also=truth)
        with watch.part("forward"):
            folders = {
                "reference": reward_reference_folder(settings, files, iteration),
                "prm": scoring_prm_folder(settings, files, iteration),
            }
            reference, prm = (
                logprobs_under(
                    checked_weights(folder, files.root),
                    batch,
                    settings,
                    partial=partial_path(output, name),
                )
                for name, folder in folders.items()
            )
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
            made = Made(files.root, [files.batch(iteration), *folders.values()])
            _write(output, batch, rewards, reference, settings, files, made)
            remove_partial(output)
        # Of the rewards before shaping: their sum is the log-odds that the loss trains.
        scores = response_score(rewards, batch.mask, settings.prm.response_score)
        metrics = _metrics(rewards, scores, batch) | watch.seconds
        if settings.data.source == "arithmetic":
            metrics |= _step_truth(rewards, batch, files.policy(0))
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
    made: Made,
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
    write_table(path, rows, REWARDS, made)


def _origin(settings: Settings) -> str:
    offline, path = settings.prm.offline, settings.prm.path
    return f"prm.offline.file {offline.file}" if offline else f"prm.path {path}"


def _shaped(
    rewards: torch.Tensor, batch: LearningBatch, settings: Settings, files: RunFiles
) -> torch.Tensor:
    granularity, boundary = settings.prm.prime_granularity, settings.rollout.step_boundary
    return shaped_reward(
        rewards,
        batch.mask,
        granularity=granularity,
        prime_norm=settings.prm.prime_norm,
        eos_reward=settings.prm.eos_reward,
        step_ends=reward_marks(granularity, batch, files.policy(0), boundary),
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
    if batch.true_outcome is not None:
        ranked, pairs = prm_ranking_accuracy(z, batch.true_outcome, batch.group)
        metrics["prm/true_accuracy"] = float(prm_accuracy(z, batch.true_outcome))
        if pairs:
            metrics["prm/true_ranking_accuracy"] = ranked / pairs
    for name, rows in {"correct": correct, "incorrect": ~correct}.items():
        if rows.any():
            metrics[f"reward/log_odds_{name}"] = float(z[rows].sum() / rows.sum())
    if num_pairs:
        metrics["prm/ranking_accuracy"] = num_right / num_pairs
        _, low, high = _ranking_interval(z, batch)
        metrics |= {"prm/ranking_accuracy_low": low, "prm/ranking_accuracy_high": high}
    return metrics


def _step_truth(rewards: torch.Tensor, batch: LearningBatch, folder: Path) -> Metrics:
    """How the rewards agree with the steps of generated sums, which are right or wrong by rule."""
    found = [
        (chain, int(group))
        for prompt_id, text, pieces, row, group in zip(
            batch.rows["prompt_id"],
            batch.rows["text"],
            token_pieces(batch, folder),
            rewards,
            batch.group,
            strict=True,
        )
        if (chain := true_steps(prompt_id, text, pieces, row[: len(pieces)].tolist()))
    ]
    return dict(truth_metrics([chain for chain, _ in found], [group for _, group in found]))


def _ranking_interval(z: torch.Tensor, batch: LearningBatch) -> tuple[float, float, float]:
    """By prompt: pairs of one prompt are not independent."""
    counts = []
    for group in batch.group.unique():
        rows = batch.group == group
        counts.append(prm_ranking_accuracy(z[rows], batch.outcome[rows], batch.group[rows]))
    right, pairs = zip(*[one for one in counts if one[1]], strict=True)
    return ratio_interval(right, pairs)


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
