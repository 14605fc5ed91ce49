"""The made-up batch as episodes: observations within its responses, and what they were worth."""

from collections.abc import Callable
from typing import Any

import numpy as np

from prime_core.run.layout import RunFiles
from prime_core.run.tables import BATCH, read_table, write_table


def sampled_of(length: int) -> list[bool]:
    """Of a response's tokens those that were sampled: T T F T T F ... and its last."""
    return [position % 3 != 2 or position == length - 1 for position in range(length)]


def num_turns(mask: list[bool]) -> int:
    """Runs of True."""
    return sum(now and not before for before, now in zip([False, *mask], mask, strict=False))


def with_turns(
    files: RunFiles, iteration: int = 1, sampled: Callable[[int], list[bool]] = sampled_of
) -> RunFiles:
    """The run with the columns of turns in an iteration's batch."""
    rows = read_table(files.batch(iteration), BATCH)
    masks = [sampled(len(tokens)) for tokens in rows["response_tokens"]]
    counts = [num_turns(mask) for mask in masks]
    columns: dict[str, list[Any]] = {
        "response_mask": masks,
        # No sampler drew an observation.
        "sampler_logprobs": [
            np.where(mask, numbers, 0.0)
            for mask, numbers in zip(masks, rows["sampler_logprobs"], strict=True)
        ],
        "turn_rewards": [
            [*[0.25] * (count - 1), outcome]
            for count, outcome in zip(counts, rows["outcome"], strict=True)
        ],
        "states": [["first", *["later"] * (count - 1)] for count in counts],
        "valid_actions": [[number % 2 == 0 for number in range(count)] for count in counts],
    }
    write_table(files.batch(iteration), rows.assign(**columns), BATCH)
    return files
