"""Which prompts are sampled when: pure functions of the seed, the iteration and the round.

An iteration asks a number of prompts at first (round 0) and, while the filtered batch is short,
fresh ones in up to `refill_rounds` further rounds. Each round is split into shards, numbered on
through the rounds, so that a file's number alone tells its round. The number of shards has no
influence on which prompts are asked. docs/decisions.md#refill-shards
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from prime_core.run.seeds import generator


def num_first_round(rollout_batch_size: int, oversample_factor: float) -> int:
    """Prompts asked in round 0."""
    return math.ceil(
        round(rollout_batch_size * oversample_factor, 9)
    )  # 100 * 1.1 is 110.00000000000001


def first_round(num_prompts: int, num_wanted: int, iteration: int, seed: int) -> list[int]:
    """Rows of the training table asked in round 0 of an iteration (1, 2, ...), in order.

    Each epoch is a fresh permutation of the rows; the rest at its end, too short for an iteration,
    is skipped, so that no prompt occurs twice in one batch.

    Raises ValueError when the table holds fewer prompts than one iteration needs.
    """
    if num_prompts < num_wanted:
        raise ValueError(
            f"an iteration needs {num_wanted} prompts (rollout.rollout_batch_size x "
            f"oversample_factor), but there are only {num_prompts} training prompts"
        )
    per_epoch = num_prompts // num_wanted
    epoch, index = divmod(iteration - 1, per_epoch)
    # From the epoch's own seed: a resumed run finds its place by the iteration's number alone.
    order = generator(seed, "prompts", epoch).permutation(num_prompts)
    return [int(row) for row in order[index * num_wanted : (index + 1) * num_wanted]]


def num_missing(batch_size: int, num_groups: int, min_batch_fill: float) -> int:
    """Prompts that a refill round has to bring in; 0 where the batch is full enough."""
    enough = num_groups >= min_batch_fill * batch_size
    return 0 if enough else batch_size - num_groups


def refill_round(
    num_prompts: int, num_wanted: int, asked: Collection[int], iteration: int, seed: int
) -> list[int]:
    """Rows asked in a later round: fresh ones, not asked before in this iteration.

    Fewer than `num_wanted` when the table has no more.
    """
    # One permutation for all rounds of an iteration: each skips what those before it asked.
    order = generator(seed, "refill", iteration).permutation(num_prompts)
    taken = set(asked)
    return [int(row) for row in order if int(row) not in taken][:num_wanted]


def sampling_policy(iteration: int, lag: int) -> int:
    """The iteration whose policy an iteration samples from: max(i - 1 - lag, 0).

    Without lag the newest one; with lag 1 sampling overlaps with the previous iteration's training.
    docs/decisions.md#staleness
    """
    return max(iteration - 1 - lag, 0)


def round_of(shard: int, num_shards: int) -> tuple[int, int]:
    """The round of a shard number, and the shard's number within the round."""
    return divmod(shard, num_shards)


def shard_rows(rows: list[int], shard: int, num_shards: int) -> list[int]:
    """The rows of one shard: contiguous parts whose sizes differ by one at most."""
    parts = np.array_split(np.asarray(rows, dtype=np.int64), num_shards)
    return [int(row) for row in parts[shard]]
