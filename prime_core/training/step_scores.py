"""Scores of the steps of given solutions under an implicit PRM, from its rewards of tokens.

In: solutions as prompt (messages), steps (texts) and what separates these, a tokenizer; a PRM and
its reference. Out:
tokens and where each step's begin and end; for each solution four scores of every step:

    prefix       sigma(sum of the rewards of steps 0..k)       Free Process Rewards (2412.01981)
    step         sigma(sum of the rewards of step k)           IPVRM (2604.13197), appendix G
    prefix_mean, step_mean                                     the same over the number of tokens
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from prime_core.models.load import ModelError, load_config, load_tokenizer
from prime_core.models.positions import max_positions
from prime_core.models.prompts import prompt_tokens
from prime_core.settings.run import Settings
from prime_core.training.implicit_rewards import token_rewards
from prime_core.training.labelled_tokens import sequences_of

SCORES = ("step", "prefix", "step_mean", "prefix_mean")


def tokenise_steps(solutions: Sequence[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """The solutions with prompt_tokens, response_tokens and step_ends, the tokens before each end.

    folder: of the model whose tokenizer is used. Steps are joined by each solution's separator,
    usually a blank line, which belongs to the step before it. A token that holds the end of one
    step and the beginning of the next ends the former. No token ends the response: the label is of
    steps. Raises ModelError for a tokenizer that does not say where in a text its tokens lie.
    """
    tokenizer = load_tokenizer(folder)
    if not tokenizer.is_fast:
        raise ModelError(
            f"{folder}: its tokenizer does not say where its tokens lie in a text, "
            "and steps cannot be found; expected a fast one (tokenizer.json)"
        )
    return [
        one
        | {"prompt_tokens": prompt_tokens(tokenizer, one["prompt"])}
        | _response(one["steps"], one["separator"], tokenizer)
        for one in solutions
    ]


def _response(
    steps: Sequence[str], separator: str, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    found = tokenizer(separator.join(steps), add_special_tokens=False, return_offsets_mapping=True)
    starts: list[int] = []
    before = 0
    for start, end in found["offset_mapping"]:
        # Tokenizers that trim blanks give a token of blanks alone an empty place behind them.
        starts.append(before if start == end else start)
        before = max(before, end)
    text_ends = accumulate(len(step) + len(separator) for step in steps)
    ends = [bisect_left(starts, end) for end in text_ends]
    return {"response_tokens": list(found["input_ids"]), "step_ends": ends}


def step_scores(rewards: Sequence[float], step_ends: Sequence[int]) -> dict[str, list[float]]:
    """The four scores of each step. rewards: of the response's tokens; step_ends: [steps]."""
    sums = torch.cat(
        [torch.zeros(1, dtype=torch.float64), torch.tensor(rewards).double().cumsum(0)]
    )
    ends = torch.tensor(step_ends)
    # Where one token holds several short steps, those behind the first share it.
    begins = torch.minimum(torch.cat([torch.zeros(1, dtype=ends.dtype), ends[:-1]]), ends - 1)
    step = sums[ends] - sums[begins]
    found = {
        "step": step,
        "prefix": sums[ends],
        "step_mean": step / (ends - begins),
        "prefix_mean": sums[ends] / ends,
    }
    return {name: found[name].sigmoid().tolist() for name in SCORES}


def rate_solutions(
    solutions: Sequence[dict[str, Any]], prm: Path, reference: Path, settings: Settings
) -> list[dict[str, Any]]:
    """The solutions that the model has positions for, each with `scores` (name -> of its steps)."""
    rows = tokenise_steps(solutions, prm)
    positions = max_positions(load_config(prm))
    fitting = [
        row
        for row in rows
        if positions is None or len(row["prompt_tokens"]) + len(row["response_tokens"]) <= positions
    ]
    if not fitting:
        raise ModelError(
            f"{prm}: none of {len(rows)} solutions is within its {positions} positions"
        )
    rewards = token_rewards(prm, reference, sequences_of(fitting), settings)
    return [
        row | {"scores": step_scores(values, row["step_ends"])}
        for row, values in zip(fitting, rewards, strict=True)
    ]
