"""Rows of trees: what is left of one where a response leaves, and figures of the forks.

In: rows with `parent` (the sample of the same prompt that each forked from, -1: none) and `fork`
(index of its first own token).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from prime_core.run.sampled import num_own_tokens, records, response_length


def with_heirs(judged: pd.DataFrame, keep: np.ndarray) -> pd.DataFrame:
    """The rows, with `parent` and `fork` as they are among those that stay.

    Of the responses that forked from one that leaves, the one that shares most with it takes its
    place: its parent, its fork. The others forked from what they share with this heir, at the same
    token. So no estimator meets a parent that is not there, and which tokens are shared by whom
    stays as it was.
    """
    parent = judged["parent"].fillna(-1).to_numpy(dtype="int32", copy=True)
    fork = judged["fork"].fillna(0).to_numpy(dtype="int32", copy=True)
    sample = judged["sample"].to_numpy()
    groups: dict[Any, Any] = judged.groupby("prompt_id", sort=False).indices
    for rows in groups.values():
        if keep[rows].all() or not keep[rows].any():
            continue
        # From the latest fork on: what a leaving response has left to inherit has stayed.
        for lost in sorted(rows[~keep[rows]], key=lambda row: (-fork[row], sample[row])):
            heirs = [row for row in rows if keep[row] and parent[row] == sample[lost]]
            if not heirs:
                continue
            heir = min(heirs, key=lambda row: (-fork[row], sample[row]))
            parent[heirs] = sample[heir]
            parent[heir], fork[heir] = parent[lost], fork[lost]
    return judged.assign(parent=parent, fork=fork)


def tree_metrics(rows: pd.DataFrame | Sequence[dict[str, Any]]) -> dict[str, float]:
    """Figures of sampled trees; none where the rows have none.

    tree/num_forks_mean: responses of a prompt that forked. tree/own_share: tokens that were
    sampled, of all tokens of the responses. tree/fork_position_mean: share of a response that
    stands before its fork.
    """
    frame = pd.DataFrame(rows)
    if frame.empty or "parent" not in frame:
        return {}
    tokens = records(frame)
    lengths = np.array([response_length(row) for row in tokens])
    own = np.array([num_own_tokens(row) for row in tokens])
    forked = frame["parent"].to_numpy() >= 0
    position = 1 - own[forked] / lengths[forked]
    return {
        "tree/num_forks_mean": float(forked.sum() / frame["prompt_id"].nunique()),
        "tree/own_share": float(own.sum() / lengths.sum()),
        "tree/fork_position_mean": float(position.mean()) if forked.any() else 0.0,
    }
