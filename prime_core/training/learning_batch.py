"""The batch table as tensors: what scoring and the updates start from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from prime_core.run.layout import RunFiles
from prime_core.run.sampled import is_list, records, sampled_mask
from prime_core.run.tables import BATCH, REWARDS, STEP_VALUES, VALUES, TableError, read_table
from prime_core.training.batches import Sequences, pad_rows
from prime_core.trees import Forks
from prime_core.turns import turn_index


@dataclass(frozen=True)
class LearningBatch:
    """B responses in the table's order.

    outcome: [B], in [0, 1]. group: [B], one number per prompt. mask: [B, T], T the longest
    response, True where the policy sampled a token; an environment's observations are False.
    """

    rows: pd.DataFrame
    sequences: Sequences
    outcome: Float[Tensor, " B"]
    group: Int[Tensor, " B"]
    mask: Bool[Tensor, "B T"]

    @property
    def num_tokens(self) -> int:
        """Sampled tokens in all."""
        return int(self.mask.sum())

    @cached_property
    def turn(self) -> Int[Tensor, "B T"]:
        """Turn of each token, from 0 on; -1 at tokens that were not sampled."""
        return turn_index(self.mask)

    @cached_property
    def num_turns(self) -> Int[Tensor, " B"]:
        """Turns of each response."""
        return self.turn.amax(1) + 1

    @property
    def turn_rewards(self) -> Float[Tensor, "B N"] | None:
        """The environment's reward of each turn, 0 behind the last; None: no environment.

        Raises TableError where a row has another number of them than its response has turns.
        """
        rows = self._of_turns("turn_rewards")
        return None if rows is None else pad_rows(rows, self._most_turns)

    @property
    def states(self) -> Int[Tensor, "B N"] | None:
        """A number for the observation that each turn answered, equal where they are; -1: no turn.

        Raises TableError as turn_rewards does.
        """
        rows = self._of_turns("states")
        if rows is None:
            return None
        numbers = {digest: number for number, digest in enumerate(sorted({*chain(*rows)}))}
        states = torch.full((len(rows), self._most_turns), -1)
        for row, digests in enumerate(rows):
            states[row, : len(digests)] = torch.tensor([numbers[one] for one in digests])
        return states

    @property
    def valid_actions(self) -> Bool[Tensor, "B N"] | None:
        """False at turns whose action the environment could not take; True behind the last.

        None: no environment says so. Raises TableError as turn_rewards does.
        """
        rows = self._of_turns("valid_actions")
        if rows is None:
            return None
        return pad_rows([[not valid for valid in row] for row in rows], self._most_turns) == 0

    @property
    def parent(self) -> Int[Tensor, " B"] | None:
        """The sample of the same prompt that each forked from, -1: none; None without trees."""
        return self._numbers("parent", missing=-1)

    @property
    def fork(self) -> Int[Tensor, " B"] | None:
        """Index of each response's first own token; None without trees."""
        return self._numbers("fork", missing=0)

    def forks(self, weight: str) -> Forks | None:
        """Where the responses fork; weight: as Forks has it; None without trees."""
        parent, fork = self.parent, self.fork
        if parent is None or fork is None:
            return None
        sample = torch.from_numpy(self.rows["sample"].to_numpy(dtype="int64", copy=True))
        return Forks(sample, parent, fork, weight)

    @property
    def _most_turns(self) -> int:
        return int(self.num_turns.max())

    def _numbers(self, name: str, missing: int) -> Int[Tensor, " B"] | None:
        if name not in self.rows:
            return None
        return torch.from_numpy(self.rows[name].fillna(missing).to_numpy(dtype="int64", copy=True))

    def _of_turns(self, name: str) -> list[Any] | None:
        """A column with an entry for each turn; None where the batch has none."""
        if name not in self.rows:
            return None
        rows = [list(cell) if is_list(cell) else [] for cell in self.rows[name]]
        for row, (entries, num_turns) in enumerate(zip(rows, self.num_turns.tolist(), strict=True)):
            if len(entries) != num_turns:
                one = self.rows.iloc[row]
                raise TableError(
                    f"response {one['sample']} to {one['prompt_id']}: {len(entries)} {name} of "
                    f"{num_turns} turns"
                )
        return rows

    @property
    def truncated(self) -> Bool[Tensor, " B"]:
        """Responses that were cut at the length limit."""
        return torch.from_numpy(self.rows["finish_reason"].eq("length").to_numpy(copy=True))

    @property
    def greedy_outcome(self) -> Float[Tensor, " B"] | None:
        """Outcome of the greedy response to each one's prompt; None where none was sampled."""
        if "greedy_outcome" not in self.rows:
            return None
        return torch.tensor(self.rows["greedy_outcome"].to_numpy(), dtype=torch.float32)

    @property
    def true_outcome(self) -> Float[Tensor, " B"] | None:
        """Outcomes before some were flipped on purpose; None where none were."""
        if "true_outcome" not in self.rows:
            return None
        return torch.tensor(self.rows["true_outcome"].to_numpy(), dtype=torch.float32)

    def matrix(self, rows: Iterable[Sequence[float]]) -> Float[Tensor, "B T"]:
        """Ragged rows, one for each response, as a matrix beside the mask."""
        return pad_rows(list(rows), self.mask.shape[1])


def read_batch(files: RunFiles, iteration: int, also: Sequence[str] = ()) -> LearningBatch:
    """The batch of one iteration; also: optional columns that it must have."""
    return batch_of(read_table(files.batch(iteration), BATCH, files.root, also))


def batch_of(rows: pd.DataFrame) -> LearningBatch:
    """Rows with tokens, outcome and prompt_id as a batch."""
    masks = [sampled_mask(row) for row in records(rows)]
    return LearningBatch(
        rows=rows,
        sequences=Sequences(
            [tokens.tolist() for tokens in rows["prompt_tokens"]],
            [tokens.tolist() for tokens in rows["response_tokens"]],
        ),
        outcome=torch.tensor(rows["outcome"].to_numpy(), dtype=torch.float32),
        # Estimators compare numbers, and ids of prompts may be any text.
        group=torch.from_numpy(pd.factorize(rows["prompt_id"])[0]),
        mask=pad_rows(masks, max(map(len, masks))) > 0,
    )


def read_rewards(files: RunFiles, iteration: int, batch: LearningBatch) -> pd.DataFrame:
    """Rewards of the batch, row for row. Raises TableError for those of other responses."""
    return _read_beside(files.rewards(iteration), REWARDS, files, iteration, batch)


def read_values(files: RunFiles, iteration: int, batch: LearningBatch) -> Float[Tensor, "B T"]:
    """Values of the batch's states, row for row. Raises TableError for other responses'."""
    values = _read_beside(files.values(iteration), VALUES, files, iteration, batch)
    return batch.matrix(values["values"])


def read_step_values(
    files: RunFiles, iteration: int, batch: LearningBatch
) -> tuple[Float[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """Values of the states before steps, one column a step and NaN where none is known, and the
    last tokens of steps. Raises TableError for those of other responses.
    """
    table = _read_beside(files.step_values(iteration), STEP_VALUES, files, iteration, batch)
    ends = torch.zeros_like(batch.mask)
    for row, places in enumerate(table["step_ends"]):
        ends[row, torch.as_tensor(places.tolist(), dtype=torch.long) - 1] = True
    return batch.matrix(table["values"]), ends


def _read_beside(
    path: Path, schema: pa.Schema, files: RunFiles, iteration: int, batch: LearningBatch
) -> pd.DataFrame:
    """A table with a row for each response of the batch, in its order."""
    table = read_table(path, schema, files.root)
    # The same number of rows proves nothing: a batch selected again can hold other responses.
    keys = ["prompt_id", "sample"]
    if not table[keys].equals(batch.rows[keys]):
        raise TableError(
            f"{path}: its responses are not those of {files.batch(iteration)}; delete it"
        )
    return table
