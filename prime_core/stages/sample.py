"""Stage `sample`: draw responses for one shard of an iteration's prompts.

In: data/train.parquet, the policy of the iteration before (or an older one, rollout.max_staleness),
outcomes of earlier rounds (refill), groups that the iteration before left over.
Out: iterations/<i>/rollouts/<shard>.parquet, metrics/sample-<shard>.json.

Finished responses are saved beside the output as they come, so that a killed job draws only the
rest, with the bits of an undisturbed one.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from prime_core.run.atomic import write_json
from prime_core.run.label_flips import with_flips
from prime_core.run.layout import RunFiles
from prime_core.run.records import Made, checked_weights
from prime_core.run.sampled import num_own_tokens, response_length
from prime_core.run.schedule import (
    first_round,
    num_first_round,
    num_missing,
    refill_round,
    round_of,
    sampling_policy,
    shard_rows,
)
from prime_core.run.selection import (
    filter_groups,
    num_groups,
    prompt_rows,
    read_carried,
    read_judged,
)
from prime_core.run.tables import GREEDY, PROMPTS, ROLLOUTS, read_table, write_table
from prime_core.run.tree_rows import tree_metrics
from prime_core.run.work import finish, open_run, progress_label
from prime_core.runtime.console import progress_bar
from prime_core.runtime.locks import only_one
from prime_core.runtime.partial_rows import remove_partial
from prime_core.runtime.stopwatch import Metrics, Stopwatch
from prime_core.settings.run import Settings


def run(run_dir: Path, iteration: int, shard: int) -> None:
    """Sample one shard of an iteration (1, 2, ...)."""
    settings, files = open_run(run_dir)
    watch = Stopwatch()
    with only_one(files.rollouts(iteration, shard), run_dir):
        num_shards = files.num_shards(iteration, settings.rollout.num_shards)
        # Before the first table: the iteration now keeps this number, whatever is configured later.
        write_json(files.shard_count(iteration), num_shards)
        prompts = read_table(files.train, PROMPTS, files.root)
        asked = prompts.iloc[rows_asked(settings, files, prompts, iteration, shard)]
        output = files.rollouts(iteration, shard)
        sampler, rows = _sample(settings, files, asked, iteration, output, watch)
        sampled_by = files.policy(sampling_policy(iteration, settings.rollout.lag))
        made = Made(files.root, [files.train, sampled_by], {"num_shards": num_shards})
        write_table(output, rows, ROLLOUTS, made)
        remove_partial(output)
        sampled = [row for row in rows if row["sample"] != GREEDY]
        metrics = _metrics(sampled) | tree_metrics(sampled) | watch.seconds
        finish(
            files.metrics(iteration, f"sample-{shard:02d}"),
            metrics,
            f"{progress_label(iteration, settings)} sample {shard}: "
            f"{len(rows)} responses to {len(asked)} prompts{sampler and f' by {sampler}'}, "
            f"mean length {metrics['response_length/mean']:.1f} tokens, "
            f"{watch.seconds.get('timing_s/generate', 0.0):.1f} s",
        )


def rows_asked(
    settings: Settings, files: RunFiles, prompts: pd.DataFrame, iteration: int, shard: int
) -> list[int]:
    """Rows of the training table that this shard asks; none where the batch is full already.

    Groups left over by the iteration before already have their places in the batch: fewer prompts
    are asked, and never theirs again.
    """
    rollout, num_prompts = settings.rollout, len(prompts)
    num_shards = files.num_shards(iteration, rollout.num_shards)
    this_round, shard_in_round = round_of(shard, num_shards)
    carried = read_carried(files, iteration, settings)
    room, known = rollout.rollout_batch_size - num_groups(carried), prompt_rows(carried, prompts)
    wanted = num_first_round(rollout.rollout_batch_size, rollout.oversample_factor)
    # Drawn in full and cut afterwards: an iteration's place in the epoch must not depend on how
    # much was left over before it.
    drawn = first_round(num_prompts, wanted, iteration, settings.seed)
    fresh = [row for row in drawn if row not in known]
    rows = fresh[: num_first_round(max(room, 0), rollout.oversample_factor)]
    asked = [*known, *rows]
    # What was asked is recorded nowhere: each shard derives it from the same tables, so none waits
    # for another of its round. docs/decisions.md#refill-shards
    for earlier in range(1, this_round + 1):
        earlier_shards = range(earlier * num_shards)
        judged = with_flips(read_judged(files, iteration, earlier_shards), settings, iteration)
        held = num_groups(carried) + num_groups(filter_groups(judged, settings.filter))
        missing = num_missing(rollout.rollout_batch_size, held, rollout.min_batch_fill)
        num_fresh = num_first_round(missing, rollout.oversample_factor)
        rows = refill_round(num_prompts, num_fresh, asked, iteration, settings.seed)
        asked = [*asked, *rows]
    return shard_rows(rows, shard_in_round, num_shards)


def _sample(
    settings: Settings,
    files: RunFiles,
    asked: pd.DataFrame,
    iteration: int,
    output: Path,
    watch: Stopwatch,
) -> tuple[str, list[dict]]:
    """The sampler's name and the responses; "" and none where nothing is asked."""
    if asked.empty:  # engines are heavy, and a full batch needs none
        return "", []
    with watch.part("import"):
        from prime_core.samplers.choice import refuse_mixture, sampler_of_iteration
        from prime_core.samplers.rollouts import sample_rollouts

    rollout = settings.rollout
    num_greedy = int(settings.policy.compares_with_greedy)
    num_responses = len(asked) * (rollout.n_samples_per_prompt + num_greedy)
    sampled_by = sampling_policy(iteration, rollout.lag)
    with watch.part("choose"):
        chosen = settings.rollout.sampler
        sampler = sampler_of_iteration(chosen, files.policy(sampled_by), files, iteration)
    with watch.part("generate"), progress_bar(num_responses, "response", "sampling") as bar:
        responses = sample_rollouts(
            settings,
            sampler=sampler,
            model_path=checked_weights(files.policy(sampled_by), files.root),
            prompts=asked,
            iteration=iteration,
            progress=bar.update,
            output=output,
        )
    # Meanwhile the iteration may have been deleted and restarted with another sampler.
    refuse_mixture(sampler, files.sampler(iteration))
    return sampler, [row | {"policy_iteration": sampled_by} for row in responses]


def _metrics(rows: list[dict]) -> Metrics:
    lengths = [response_length(row) for row in rows]
    cut = [row["finish_reason"] == "length" for row in rows]
    count = max(len(rows), 1)
    return {
        "sample/num_responses": len(rows),
        "sample/num_tokens": sum(map(num_own_tokens, rows)),
        "response_length/mean": sum(lengths) / count,
        "response_length/max": max(lengths, default=0),
        "response_length/clip_ratio": sum(cut) / count,
    }
