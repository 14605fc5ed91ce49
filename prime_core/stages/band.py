"""Stage `band`: difficulty filtering of the training problems, by the start model's pass rate.

Kept are problems whose pass rate, as the stage `difficulty` estimated it, lies within the bounds
of data.difficulty: groups that are all right or all wrong give no advantages to learn from.

In: data/candidates.parquet, data/difficulty/<shard>.parquet of all shards.
Out: data/train.parquet, data/too_easy_or_hard.parquet (the others, with their accuracy),
metrics/band.json. Problems none of whose responses has a verdict are left out, too.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.data.problems import DataError
from prime_core.data.sources import difficulty_settings
from prime_core.run.layout import RunFiles
from prime_core.run.records import Made
from prime_core.run.tables import (
    DIFFICULTY,
    DROPPED,
    PROMPTS,
    TableError,
    read_table,
    stream_table,
    table_writer,
)
from prime_core.run.work import finish, open_run
from prime_core.runtime.locks import only_one
from prime_core.runtime.stopwatch import Metrics
from prime_core.settings.data import Difficulty


def run(run_dir: Path) -> None:
    """Write the training problems within the band, and those left out of it."""
    settings, files = open_run(run_dir)
    asked = difficulty_settings(settings)
    with only_one(files.train, run_dir):
        shards = range(asked.num_shards)
        tables = [read_table(files.difficulty(shard), DIFFICULTY, files.root) for shard in shards]
        tried: dict[str, Any] = {
            str(row.prompt_id): row for table in tables for row in table.itertuples()
        }
        made = Made(files.root, [files.candidates, *map(files.difficulty, shards)])
        counts = Counter(dict.fromkeys(("kept", "too_easy", "too_hard", "no_verdict"), 0))
        with (
            # Closed in reverse order: what the next stages wait for is renamed into place last.
            table_writer(files.train, PROMPTS, made) as keep,
            table_writer(files.too_easy_or_hard, DROPPED, made) as drop,
        ):
            num_read = 0
            for rows in stream_table(files.candidates, PROMPTS, files.root):
                reasons = [difficulty_verdict(_tried(tried, row, files), asked) for row in rows]
                counts.update(reasons)
                known = list(zip(rows, reasons, strict=True))
                keep([row for row, reason in known if reason == "kept"])
                drop(
                    [
                        _left_out(num_read + index, row, reason, tried)
                        for index, (row, reason) in enumerate(known)
                        if reason != "kept"
                    ]
                )
                num_read += len(rows)
            # Still inside the writers: raised here, neither table comes into being.
            _refuse_none(counts, asked, files)
        _finish(files, counts, tables, asked)


def difficulty_verdict(tried: Any, asked: Difficulty) -> str:
    """What becomes of a problem: "kept", "too_easy", "too_hard", or "no_verdict".

    tried: num_judged, num_correct.
    """
    if tried.num_judged == 0:
        return "no_verdict"
    accuracy = tried.num_correct / tried.num_judged
    if accuracy < asked.accuracy_lower_bound:
        return "too_hard"
    return "too_easy" if accuracy > asked.accuracy_upper_bound else "kept"


def _tried(tried: dict[str, Any], row: dict[str, Any], files: RunFiles) -> Any:
    if row["prompt_id"] not in tried:
        raise TableError(
            f"{files.difficulty(0).parent}: no shard holds {row['prompt_id']!r} of "
            f"{files.candidates}; delete the folder and run again"
        )
    return tried[row["prompt_id"]]


def _left_out(row_number: int, row: dict[str, Any], reason: str, tried: dict[str, Any]) -> dict:
    found = tried[row["prompt_id"]]
    return {
        "split": "train",
        "source": row["data_source"],
        "row": row_number,
        "prompt_id": row["prompt_id"],
        "reason": reason,
        "detail": f"{found.num_correct} of {found.num_judged} right",
        "quote": row["prompt"][-1]["content"][:200],
    }


def _refuse_none(counts: Counter[str], asked: Difficulty, files: RunFiles) -> None:
    if not counts["kept"]:
        raise DataError(
            f"{files.candidates}: no pass rate lies between data.difficulty.accuracy_lower_bound "
            f"{asked.accuracy_lower_bound} and accuracy_upper_bound {asked.accuracy_upper_bound}: "
            f"{counts['too_hard']} are too hard, {counts['too_easy']} too easy, "
            f"{counts['no_verdict']} without a verdict"
        )


def _finish(
    files: RunFiles, counts: Counter[str], tables: list[pd.DataFrame], asked: Difficulty
) -> None:
    tried = pd.concat(tables)
    num_correct, num_judged = tried["num_correct"].sum(), max(tried["num_judged"].sum(), 1)
    metrics: Metrics = {
        "data/num_train": counts["kept"],
        "data/num_train_too_easy": counts["too_easy"],
        "data/num_train_too_hard": counts["too_hard"],
        "data/num_train_no_verdict": counts["no_verdict"],
        "difficulty/accuracy": float(num_correct / num_judged),
    }
    finish(
        files.setup_metrics("band"),
        metrics,
        f"band: {counts['kept']} of {sum(counts.values())} problems with pass rates of "
        f"{asked.accuracy_lower_bound:g} to {asked.accuracy_upper_bound:g}; "
        f"{counts['too_hard']} too hard, {counts['too_easy']} too easy, "
        f"{counts['no_verdict']} without a verdict",
    )
