"""From judged responses to the batch that is trained on: the prompt filter over tables.

The filter itself is `prime_core.filtering`; here are the tables around it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prime_core.filtering import accuracy_filter, truncation_filter
from prime_core.run.layout import RunFiles
from prime_core.run.records import TableError
from prime_core.run.tables import BATCH, GREEDY, OPTIONAL, OUTCOMES, ROLLOUTS, read_fact, read_table
from prime_core.run.tree_rows import with_heirs
from prime_core.settings.run import Filter, Settings


def read_judged(files: RunFiles, iteration: int, shards: Iterable[int]) -> pd.DataFrame:
    """Responses of the given shards with outcome (NaN: no verdict) and verdict, as asked.

    Where a greedy response to each prompt was sampled as well, it is none of them: its outcome is
    their greedy_outcome. Raises TableError where a shard's outcomes do not belong to its responses.
    """
    parts = []
    for shard in shards:
        rollouts = read_table(files.rollouts(iteration, shard), ROLLOUTS, files.root)
        outcomes = read_table(files.outcomes(iteration, shard), OUTCOMES, files.root)
        _refuse_other_count(files, iteration, shard)
        keys = ["prompt_id", "sample"]
        # The same number of rows proves nothing: of a shard that was sampled again, old verdicts
        # would land on new responses.
        if not rollouts[keys].equals(outcomes[keys]):
            raise TableError(
                f"{files.outcomes(iteration, shard)}: its responses are not those of "
                f"{files.rollouts(iteration, shard)}; delete it and run again"
            )
        of_turns = outcomes[[name for name in OPTIONAL[OUTCOMES].names if name in outcomes]]
        outcome = outcomes["outcome"].astype("float64")
        parts.append(rollouts.assign(outcome=outcome, verdict=outcomes["verdict"], **of_turns))
    return _beside_greedy(pd.concat(parts, ignore_index=True))


def _beside_greedy(judged: pd.DataFrame) -> pd.DataFrame:
    """The sampled responses, with the outcome of their prompt's greedy one where there are such."""
    is_greedy = judged["sample"] == GREEDY
    if not is_greedy.any():
        return judged
    outcome = judged[is_greedy].set_index("prompt_id")["outcome"]
    sampled = judged[~is_greedy].reset_index(drop=True)
    return sampled.assign(greedy_outcome=sampled["prompt_id"].map(outcome))


def judged_tables(files: RunFiles, iteration: int, shards: Iterable[int]) -> list[Path]:
    """What read_judged reads."""
    return [
        path
        for shard in shards
        for path in (files.rollouts(iteration, shard), files.outcomes(iteration, shard))
    ]


def _refuse_other_count(files: RunFiles, iteration: int, shard: int) -> None:
    """Raise TableError where a shard was one of another number than the iteration now counts."""
    counted, path = files.shard_count(iteration), files.rollouts(iteration, shard)
    known = read_fact(path, "num_shards")
    # Of too small a number the other shards would be left out without a word.
    if known is not None and counted.exists() and files.num_shards(iteration, 0) != known:
        raise TableError(
            f"{counted}: says {files.num_shards(iteration, 0)} shards a round, but {path} was "
            f"sampled as one of {known}; write {known} into it"
        )


def group_ids(judged: pd.DataFrame) -> np.ndarray:
    """A number for each response's prompt, 0, 1, ... in the order of first appearance."""
    return pd.factorize(judged["prompt_id"])[0]


def filter_groups(judged: pd.DataFrame, bounds: Filter) -> pd.DataFrame:
    """The judged responses of the groups that pass the filter, in the order asked."""
    # Arrays, as the filter takes them as well: torch would be imported for this alone.
    outcome: Any = judged["outcome"].to_numpy()
    group: Any = group_ids(judged)
    # Switched off, the filter still runs: responses without a verdict, and groups with a single
    # judged one, have no advantage.
    lower, upper = (
        (bounds.accuracy_lower_bound, bounds.accuracy_upper_bound)
        if bounds.filter_accuracy
        else (0.0, 1.0)
    )
    keep: Any = accuracy_filter(outcome, group, lower, upper)
    if bounds.filter_truncated:
        cut: Any = judged["finish_reason"].eq("length").to_numpy()
        keep = keep & truncation_filter(cut, group)
    if "greedy_outcome" in judged:  # without a verdict on it a group has no baseline
        keep = keep & judged["greedy_outcome"].notna().to_numpy()
    # What forked from a response that leaves keeps what it shared with others of the same.
    hung = with_heirs(judged, keep) if "parent" in judged else judged
    return hung[keep].reset_index(drop=True)


def first_groups(kept: pd.DataFrame, num_groups: int) -> pd.DataFrame:
    """The responses of the first groups; surplus groups are left out."""
    return kept[group_ids(kept) < num_groups].reset_index(drop=True)


def groups_after(kept: pd.DataFrame, num_groups: int) -> pd.DataFrame:
    """The surplus: the responses of the groups that `first_groups` leaves out."""
    return kept[group_ids(kept) >= num_groups].reset_index(drop=True)


def staleness(judged: pd.DataFrame, iteration: int) -> pd.Series:
    """By how many updates each response's policy is older than the one that an iteration trains.

    iteration - 1 - policy_iteration
    """
    return iteration - 1 - judged["policy_iteration"]


def fresh_enough(judged: pd.DataFrame, iteration: int, max_staleness: int) -> pd.DataFrame:
    """The responses that an iteration may be trained on."""
    return judged[staleness(judged, iteration) <= max_staleness].reset_index(drop=True)


def read_carried(files: RunFiles, iteration: int, settings: Settings) -> pd.DataFrame:
    """Groups that the iteration before left over for this one; none where none are kept."""
    if not settings.rollout.keeps_surplus or iteration == 1:
        return BATCH.empty_table().to_pandas()
    surplus = read_table(files.surplus(iteration - 1), BATCH, files.root)
    missing = [name for name in settings.batch_columns if name not in surplus]
    if missing and len(surplus):  # rows that there are none of may lack what only rows bring
        raise TableError(f"{files.surplus(iteration - 1)}: columns {missing} are missing")
    return surplus


def prompt_rows(groups: pd.DataFrame, prompts: pd.DataFrame) -> list[int]:
    """Rows of the table of prompts that these groups answer."""
    return np.flatnonzero(prompts["prompt_id"].isin(groups["prompt_id"])).tolist()


def num_groups(judged: pd.DataFrame) -> int:
    """Number of prompts."""
    return int(judged["prompt_id"].nunique())


def accuracy_histogram(judged: pd.DataFrame) -> str:
    """How many prompts have which mean outcome, as one line of text."""
    means = judged.groupby("prompt_id")["outcome"].mean()
    # Prompts that were always wrong, or always right, have a bin of their own: they teach nothing.
    edges = [0.0, 1e-9, 0.2, 0.4, 0.6, 0.8, 1.0 - 1e-9, 1.0 + 1e-9]
    names = ["0", "(0, 0.2)", "[0.2, 0.4)", "[0.4, 0.6)", "[0.6, 0.8)", "[0.8, 1)", "1"]
    counts, _ = np.histogram(means.dropna(), bins=edges)
    return ", ".join(f"{name}: {count}" for name, count in zip(names, counts, strict=True))
