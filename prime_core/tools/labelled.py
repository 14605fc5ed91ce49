"""Stage `labelled`: a run's judged responses as a file that an implicit PRM is trained on.

In: rollouts and outcomes of some iterations, data/train.parquet. Out: a parquet file with the
columns of LABELLED_TEXTS; prm.offline.file of another run can name it.

It holds every response with a verdict, including those of groups that the filter dropped. The
responses to one prompt are numbered through all iterations. A text does not say by which token it
ended (models may have several), so that has a column of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.models.load import load_tokenizer
from prime_core.run.layout import RunFiles, in_order
from prime_core.run.tables import (
    LABELLED_TEXTS,
    OUTCOMES,
    PROMPTS,
    ROLLOUTS,
    TableError,
    read_table,
    write_table,
)
from prime_core.run.work import open_run
from prime_core.runtime.console import progress_bar, say
from prime_core.verifiers.resumable import is_right


def run(run_dir: Path, iterations: range, out: Path) -> None:
    """Write the judged responses of these iterations. Raises TableError where one has none."""
    _, files = open_run(run_dir)
    if not iterations:
        raise ValueError(
            f"--iterations {iterations.start}-{iterations.stop - 1}: the end precedes the beginning"
        )
    prompts = read_table(files.train, PROMPTS, files.root).set_index("prompt_id")["prompt"]
    with progress_bar(len(iterations), "iteration", "reading") as bar:
        tables = []
        for iteration in iterations:
            tables.append(_judged(files, iteration))
            bar.update()
    rows = pd.concat(tables, ignore_index=True)
    unknown = sorted(set(rows["prompt_id"]) - set(prompts.index))
    if unknown:
        raise TableError(
            f"{files.train}: not the problems of these rollouts: {unknown[0]!r} is missing"
        )
    # A prompt is asked again in later epochs, where samples are numbered from 0 again.
    rows["sample"] = rows.groupby("prompt_id").cumcount()
    rows["prompt"] = rows["prompt_id"].map(prompts)
    tokenizer = load_tokenizer(files.base_model)
    ends: list[Any] = [
        tokenizer.convert_ids_to_tokens(int(tokens[-1])) if finished else None
        for tokens, finished in zip(rows["response_tokens"], rows["finished"], strict=True)
    ]
    rows = rows.assign(end_token=ends)
    rows = rows.rename(columns={"text": "response"})
    write_table(out, rows, LABELLED_TEXTS)
    say(
        f"labelled: {len(rows)} responses to {rows['prompt_id'].nunique()} prompts, "
        f"{100 * is_right(rows).mean():.1f} % correct: {out}"
    )


def _judged(files: RunFiles, iteration: int) -> pd.DataFrame:
    """Responses of one iteration that have a verdict, in the order of its shards."""
    shards = in_order((files.iteration(iteration) / "rollouts").glob("*.parquet"))
    if not shards:
        raise TableError(f"{files.iteration(iteration)}: holds no rollouts; run that iteration")
    keys = ["prompt_id", "sample"]
    tables = []
    for path in shards:
        rollouts = read_table(path, ROLLOUTS, files.root)
        outcomes = read_table(files.outcomes(iteration, int(path.stem)), OUTCOMES, files.root)
        tables.append(rollouts.merge(outcomes[[*keys, "outcome", "verdict"]], on=keys, how="left"))
    # Greedy responses as well, where there are such: they are judged like any other.
    rows = pd.concat(tables, ignore_index=True).dropna(subset="outcome")
    return rows.assign(finished=rows["finish_reason"] == "stop")
