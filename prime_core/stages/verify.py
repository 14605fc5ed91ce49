"""Stage `verify`: outcome labels for one shard of rollouts.

In: iterations/<i>/rollouts/<shard>.parquet, data/train.parquet.
Out: iterations/<i>/outcomes/<shard>.parquet, metrics/verify-<shard>.json.

Judged rows are saved beside the output as they come, so that a killed job redoes only the rest.
A row's verdict does not depend on what runs beside it; only `seconds` differs from run to run.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.evaluation.judge_agreement import agreement_metrics
from prime_core.evaluation.run_rows import run_rows
from prime_core.run.records import Made
from prime_core.run.reward_function import refuse_edited_function
from prime_core.run.tables import OUTCOMES, PROMPTS, ROLLOUTS, TableError, read_table, write_table
from prime_core.run.work import finish, open_run, progress_label
from prime_core.runtime.locks import only_one
from prime_core.runtime.partial_rows import partial_path, remove_partial
from prime_core.runtime.stopwatch import Metrics, Stopwatch
from prime_core.samplers.replying import replies_of
from prime_core.verifiers.env import episode_text
from prime_core.verifiers.resumable import columns, judge_all, refuse_broken
from prime_core.verifiers.verdict import Judgement, Verdict


def run(run_dir: Path, iteration: int, shard: int) -> None:
    """Judge one shard of an iteration (1, 2, ...)."""
    settings, files = open_run(run_dir)
    output = files.outcomes(iteration, shard)
    watch = Stopwatch()
    with only_one(output, run_dir):
        refuse_edited_function(settings, files)
        source = files.rollouts(iteration, shard)
        rollouts = read_table(source, ROLLOUTS, files.root)
        prompts = read_table(files.train, PROMPTS, files.root)
        _refuse_unknown(rollouts, prompts, source)
        rows = run_rows(prompts, _responses(rollouts), settings, settings.verification)
        partial = partial_path(output, "verdicts")
        with watch.part("judge"):
            judgements = judge_all(
                rows,
                settings.verification,
                partial,
                f"verifying shard {shard}",
                replies_of(settings, output),
            )
        # Before the table is written: an output that exists would count as judged.
        refuse_broken(judgements, settings, output)
        agreement = agreement_metrics(rows, judgements, settings.verification)
        table = rollouts[["prompt_id", "sample"]].assign(**columns(judgements))
        write_table(output, table, OUTCOMES, Made(files.root, [source, files.train]))
        remove_partial(output)
        finish(
            files.metrics(iteration, f"verify-{shard:02d}"),
            _metrics(judgements) | agreement | watch.seconds,
            f"{progress_label(iteration, settings)} {_line(judgements, shard, watch)}",
        )


def _refuse_unknown(rollouts: pd.DataFrame, prompts: pd.DataFrame, source: Path) -> None:
    missing = sorted(set(rollouts["prompt_id"]) - {*prompts["prompt_id"]})
    if missing:
        raise TableError(
            f"{source}: {len(missing)} prompts are not in the run's data, the first is "
            f"{missing[0]!r}; sample this shard again"
        )


def _responses(rollouts: pd.DataFrame) -> list[tuple[str, str]]:
    """What is judged, by prompt."""
    told = [name for name in ("text", "actions", "states") if name in rollouts]
    rows: list[Any] = rollouts[told].to_dict("records")
    return list(zip(rollouts["prompt_id"], map(episode_text, rows), strict=True))


def _metrics(judgements: list[Judgement]) -> Metrics:
    counts = Counter(j.verdict.value for j in judgements)
    seconds = sorted(j.seconds for j in judgements) or [0.0]
    metrics: Metrics = {f"verify/num_{verdict.value}": counts[verdict.value] for verdict in Verdict}
    return metrics | {
        "verify/seconds_mean": sum(seconds) / len(seconds),
        "verify/seconds_p99": seconds[int(0.99 * (len(seconds) - 1))],
        "verify/seconds_max": seconds[-1],
    }


def _line(judgements: list[Judgement], shard: int, watch: Stopwatch) -> str:
    counts = Counter(j.verdict.value for j in judgements)
    named = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    seconds = watch.seconds["timing_s/judge"]
    return f"verify {shard}: {len(judgements)} responses: {named or 'none'}, {seconds:.1f} s"
