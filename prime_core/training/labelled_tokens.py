"""Labelled responses as tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prime_core.models.load import load_tokenizer, prompt_tokens
from prime_core.runtime.console import progress_bar
from prime_core.training.batches import Sequences

NUM_QUOTED = 5


def tokenised(rows: list[dict[str, Any]], folder: Path) -> None:
    """Add prompt_tokens and response_tokens; EOS ends a response that was not cut."""
    tokenizer = load_tokenizer(folder)
    with progress_bar(len(rows), "response", "tokenising") as bar:
        for row in rows:
            answer = tokenizer(row["response"], add_special_tokens=False)["input_ids"]
            end = [tokenizer.eos_token_id] if row["finished"] else []
            row["prompt_tokens"] = prompt_tokens(tokenizer, row["prompt"])
            row["response_tokens"] = [*answer, *end]
            bar.update()


def sequences_of(rows: list[dict[str, Any]]) -> Sequences:
    """The tokens of rows that were tokenised."""
    return Sequences(
        [row["prompt_tokens"] for row in rows], [row["response_tokens"] for row in rows]
    )
