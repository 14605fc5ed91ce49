"""Labelled responses as tokens: what the first PRM is trained on, and what any PRM rates."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from prime_core.models.load import load_tokenizer
from prime_core.models.prompts import end_of_answer, prompt_tokens
from prime_core.runtime.console import note, progress_bar
from prime_core.training.batches import Sequences

NUM_QUOTED = 5  # malformed rows that are quoted; the count covers all of them


def tokenise(rows: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """The rows with prompt_tokens and response_tokens; a response that was not cut has an end.

    folder: of the model whose tokenizer is used. The end is the row's end_token; where it names
    none, or one that this tokenizer does not have (which is said), that of the model's own answers.
    """
    tokenizer = load_tokenizer(folder)
    end, known = end_of_answer(tokenizer, folder), tokenizer.get_vocab()
    tokenised: list[dict[str, Any]] = []
    unknown = Counter[str]()
    with progress_bar(len(rows), "response", "tokenising") as bar:
        for row in rows:
            # Without special tokens and apart from the prompt: a sampled response also begins with
            # a token of its own, and a BOS in the middle is nothing that a model has seen.
            answer = tokenizer(row["response"], add_special_tokens=False)["input_ids"]
            own = row.get("end_token") if row["finished"] else None
            unknown.update([own] if own and own not in known else [])
            ended = [known.get(own or "", end)] if row["finished"] else []
            tokens = {
                "prompt_tokens": prompt_tokens(tokenizer, row["prompt"]),
                "response_tokens": [*answer, *ended],
            }
            tokenised.append(row | tokens)
            bar.update()
    for token, number in unknown.items():
        note(
            f"{number} responses end with {token!r}, which the tokenizer of {folder} does not "
            f"have: {tokenizer.convert_ids_to_tokens(end)!r} instead"
        )
    return tokenised


def sequences_of(rows: list[dict[str, Any]]) -> Sequences:
    """Prompts and responses of tokenised rows, in their order."""
    return Sequences(
        [row["prompt_tokens"] for row in rows], [row["response_tokens"] for row in rows]
    )
