"""Stage `select`: gather an iteration's judged responses and keep the groups to train on.

In: iterations/<i>/rollouts/*.parquet and outcomes/*.parquet of all rounds.
Out: iterations/<i>/batch.parquet, metrics/select.json.

Raises EmptyBatch with a histogram of the prompts' accuracies when no group passes the filter.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from prime_core.rollouts import BATCH, write_table
from prime_core.selection import (
    accuracy_histogram,
    filter_groups,
    first_groups,
    num_groups,
    read_judged,
)
from prime_core.settings import Settings
from prime_core.stages.context import Metrics, finish, only_one, open_run, place_of


class EmptyBatch(ValueError):
    """No group of responses passed the filter: nothing to learn from."""


def run(run_dir: Path, iteration: int) -> None:
    """Select the batch of one iteration."""
    settings, files = open_run(run_dir)
    rollout = settings.rollout
    with only_one(files.batch(iteration), run_dir):
        num_shards = files.num_shards(iteration, rollout.num_shards)
        judged = read_judged(files, iteration, range(num_shards * (1 + rollout.refill_rounds)))
        kept = filter_groups(judged, settings.filter)
        if kept.empty:
            raise EmptyBatch(_explain_empty(judged, settings, iteration))
        batch = first_groups(kept, rollout.rollout_batch_size)
        write_table(files.batch(iteration), batch, BATCH)
        metrics = _metrics(judged, kept, batch, settings)
        finish(
            files.metrics(iteration, "select"),
            metrics,
            f"{place_of(iteration, settings)} select: "
            f"sampled accuracy {metrics['rollout/accuracy']:.3f}, "
            f"{num_groups(batch)} of {num_groups(judged)} prompts kept "
            f"({len(batch)} responses)",
        )


def _metrics(
    judged: pd.DataFrame, kept: pd.DataFrame, batch: pd.DataFrame, settings: Settings
) -> Metrics:
    means = judged.groupby("prompt_id")["outcome"].mean()
    lengths = judged["response_tokens"].map(len)
    return {
        "rollout/accuracy": float(judged["outcome"].mean()),
        "rollout/num_prompts": num_groups(judged),
        "rollout/num_responses": len(judged),
        "rollout/num_tokens": int(lengths.sum()),
        "rollout/response_length_mean": float(lengths.mean()),
        "rollout/clip_ratio": float(judged["finish_reason"].eq("length").mean()),
        "rollout/no_verdict": int(judged["outcome"].isna().sum()),
        "filter/num_prompts_kept": num_groups(batch),
        "filter/num_prompts_surplus": num_groups(kept) - num_groups(batch),
        "filter/num_responses_kept": len(batch),
        "filter/kept_share": num_groups(kept) / num_groups(judged),
        "filter/share_all_correct": float(means.eq(1).mean()),
        "filter/share_all_wrong": float(means.eq(0).mean()),
        "filter/batch_fill": num_groups(batch) / settings.rollout.rollout_batch_size,
    }


def _explain_empty(judged: pd.DataFrame, settings: Settings, iteration: int) -> str:
    bounds = settings.filter
    return (
        f"iteration {iteration}: none of {num_groups(judged)} prompts has a mean outcome within "
        f"[filter.accuracy_lower_bound {bounds.accuracy_lower_bound}, filter.accuracy_upper_bound "
        f"{bounds.accuracy_upper_bound}], so there is nothing to train on; prompts by mean "
        f"outcome: {accuracy_histogram(judged)}. Use easier or harder problems, wider bounds, or "
        "more rollout.refill_rounds"
    )
