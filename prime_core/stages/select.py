"""Stage `select`: gather an iteration's judged responses and keep the groups to train on.

In: iterations/<i>/rollouts/*.parquet and outcomes/*.parquet of all rounds; with
rollout.stale_rollouts `surplus` the groups that the iteration before left over.
Out: iterations/<i>/batch.parquet, metrics/select.json; then also surplus.parquet.

Raises EmptyBatch with a histogram of the prompts' accuracies when no group passes the filter.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from prime_core.run.label_flips import with_flips
from prime_core.run.records import Made
from prime_core.run.sampled import num_own_tokens, records, response_length
from prime_core.run.selection import (
    accuracy_histogram,
    filter_groups,
    first_groups,
    fresh_enough,
    groups_after,
    judged_tables,
    num_groups,
    read_carried,
    read_judged,
    staleness,
)
from prime_core.run.tables import BATCH, write_table
from prime_core.run.tree_rows import tree_metrics
from prime_core.run.work import finish, open_run, progress_label
from prime_core.runtime.locks import only_one
from prime_core.runtime.stopwatch import Metrics
from prime_core.settings.run import Settings
from prime_core.verifiers.resumable import is_right


class EmptyBatch(ValueError):
    """No group of responses passed the filter: nothing to learn from."""


def run(run_dir: Path, iteration: int) -> None:
    """Select the batch of one iteration: groups left over before, then fresh ones."""
    settings, files = open_run(run_dir)
    rollout = settings.rollout
    with only_one(files.batch(iteration), run_dir):
        num_shards = files.num_shards(iteration, rollout.num_shards)
        shards = range(num_shards * (1 + rollout.refill_rounds))
        judged = with_flips(read_judged(files, iteration, shards), settings, iteration)
        passed = filter_groups(judged, settings.filter)
        carried = read_carried(files, iteration, settings)
        # Groups left over before come first: they grow too old, while fresh ones can wait.
        # docs/decisions.md#staleness
        kept = pd.concat([carried, passed], ignore_index=True)
        if kept.empty:
            raise EmptyBatch(_explain_empty(judged, settings, iteration))
        batch = first_groups(kept, rollout.rollout_batch_size)
        has_carried = rollout.keeps_surplus and iteration > 1
        inputs = judged_tables(files, iteration, shards)
        inputs += [files.surplus(iteration - 1)] if has_carried else []
        if rollout.keeps_surplus:
            left = groups_after(kept, rollout.rollout_batch_size)
            # By the age that they will have when the next iteration could train on them.
            surplus = fresh_enough(left, iteration + 1, rollout.max_staleness)
            write_table(files.surplus(iteration), surplus, BATCH, Made(files.root, inputs))
        # Last: where the batch exists, the surplus does as well.
        write_table(files.batch(iteration), batch, BATCH, Made(files.root, inputs))
        metrics = {
            **_sampled(judged, passed),
            **_selected(kept, batch, settings),
            **tree_metrics(judged),
            **(_stale(batch, iteration) if rollout.max_staleness else {}),
        }
        finish(
            files.metrics(iteration, "select"),
            metrics,
            f"{progress_label(iteration, settings)} select: "
            f"sampled accuracy {metrics.get('rollout/accuracy', float('nan')):.3f}, "
            f"{num_groups(batch)} of {num_groups(carried) + num_groups(judged)} prompts kept "
            f"({len(batch)} responses)",
        )


def _sampled(judged: pd.DataFrame, passed: pd.DataFrame) -> Metrics:
    """Figures of what the iteration sampled; only counts where leftover groups filled the batch."""
    means = judged.groupby("prompt_id")["outcome"].mean()
    tokens = records(judged)
    lengths = pd.Series([response_length(row) for row in tokens], dtype="int64")
    counts: Metrics = {
        "rollout/num_prompts": num_groups(judged),
        "rollout/num_responses": len(judged),
        "rollout/num_tokens": sum(map(num_own_tokens, tokens)),
        "rollout/no_verdict": int(judged["outcome"].isna().sum()),
    }
    if judged.empty:
        return counts
    known = judged[judged["outcome"].notna()]
    return counts | {
        "rollout/accuracy": float(is_right(_truth(known)).mean()),
        # Larger where partial credit rewards programs that pass some of their tests.
        "rollout/outcome_mean": float(known["outcome"].mean()),
        "rollout/response_length_mean": float(lengths.mean()),
        "rollout/clip_ratio": float(judged["finish_reason"].eq("length").mean()),
        "filter/kept_share": num_groups(passed) / num_groups(judged),
        "filter/share_all_correct": float(means.eq(1).mean()),
        "filter/share_all_wrong": float(means.eq(0).mean()),
    }


def _truth(known: pd.DataFrame) -> pd.DataFrame:
    """Responses with their true outcomes, where training has others."""
    return known.assign(outcome=known["true_outcome"]) if "true_outcome" in known else known


def _selected(kept: pd.DataFrame, batch: pd.DataFrame, settings: Settings) -> Metrics:
    return {
        "filter/num_prompts_kept": num_groups(batch),
        "filter/num_prompts_surplus": num_groups(kept) - num_groups(batch),
        "filter/num_responses_kept": len(batch),
        "filter/batch_fill": num_groups(batch) / settings.rollout.rollout_batch_size,
    }


def _stale(batch: pd.DataFrame, iteration: int) -> Metrics:
    """How old the batch is, in updates; groups left over by the iteration before."""
    age = staleness(batch, iteration)
    return {"rollout/staleness_mean": float(age.mean()), "rollout/staleness_max": int(age.max())}


def _explain_empty(judged: pd.DataFrame, settings: Settings, iteration: int) -> str:
    bounds = settings.filter
    return (
        f"iteration {iteration}: none of {num_groups(judged)} prompts has a mean outcome within "
        f"[filter.accuracy_lower_bound {bounds.accuracy_lower_bound}, filter.accuracy_upper_bound "
        f"{bounds.accuracy_upper_bound}], so there is nothing to train on; prompts by mean "
        f"outcome: {accuracy_histogram(judged)}. Use easier or harder problems, wider bounds, or "
        "more rollout.refill_rounds"
    )
