"""Labelled responses as tokens: what the first PRM is trained on, and what any PRM rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prime_core.models.load import load_tokenizer, prompt_tokens
from prime_core.runtime.console import progress_bar
from prime_core.training.batches import Sequences

NUM_QUOTED = 5  # malformed rows that are quoted; the count covers all of them


def tokenise(rows: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """The rows with prompt_tokens and response_tokens; EOS ends a response that was not cut.

    folder: of the model whose tokenizer is used.
    """
    tokenizer = load_tokenizer(folder)
    tokenised = []
    with progress_bar(len(rows), "response", "tokenising") as bar:
        for row in rows:
            # Without special tokens and apart from the prompt: a sampled response also begins with
            # a token of its own, and a BOS in the middle is nothing that a model has seen.
            answer = tokenizer(row["response"], add_special_tokens=False)["input_ids"]
            end = [tokenizer.eos_token_id] if row["finished"] else []
            tokens = {
                "prompt_tokens": prompt_tokens(tokenizer, row["prompt"]),
                "response_tokens": [*answer, *end],
            }
            tokenised.append(row | tokens)
            bar.update()
    return tokenised


def sequences_of(rows: list[dict[str, Any]]) -> Sequences:
    """Prompts and responses of tokenised rows, in their order."""
    return Sequences(
        [row["prompt_tokens"] for row in rows], [row["response_tokens"] for row in rows]
    )
