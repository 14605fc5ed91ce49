"""How many tokens of a response the policy sampled: what lengths and totals count.

In: rows of rollouts or of a batch, as mappings of their columns. Not counted: an environment's
observations (response_mask false) and, in totals, what a response of a tree shares with the one
that it forked from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

COLUMNS = ("response_tokens", "response_mask", "fork")


def sampled_mask(row: Mapping[str, Any]) -> list[bool]:
    """Of each response token, whether the policy sampled it; all, where the row does not say.

    Raises ValueError for a mask of another length.
    """
    # A row that was joined with others' has a missing value there, which is no list.
    mask, num_tokens = row.get("response_mask"), len(row["response_tokens"])
    if mask is None or not is_list(mask):
        return [True] * num_tokens
    if len(mask) != num_tokens:
        raise ValueError(f"a response_mask of {len(mask)} for {num_tokens} response_tokens")
    return [bool(one) for one in mask]


def is_list(value: Any) -> bool:
    """Whether a cell of a column of lists holds one: not None, and not NaN."""
    return value is not None and not isinstance(value, float)


def response_length(row: Mapping[str, Any]) -> int:
    """Tokens of a response that the policy sampled, those before its fork as well."""
    return sum(sampled_mask(row))


def num_own_tokens(row: Mapping[str, Any]) -> int:
    """Tokens that were sampled for this response alone: what sampling it has cost."""
    fork = row.get("fork", 0)
    return sum(sampled_mask(row)[0 if pd.isna(fork) else int(fork) :])


def records(rows: pd.DataFrame) -> Sequence[Mapping[str, Any]]:
    """The rows with the columns that these functions read."""
    found: list[Any] = rows[[name for name in COLUMNS if name in rows]].to_dict("records")
    return found
