"""The batch table as tensors: what scoring and the updates start from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from prime_core.run.layout import RunFiles
from prime_core.run.tables import REWARDS, VALUES, TableError, batch_schema, read_table
from prime_core.training.batches import Sequences, pad_rows


@dataclass(frozen=True)
class LearningBatch:
    """B responses in the table's order.

    outcome: [B], in [0, 1]. group: [B], one number per prompt. mask: [B, T], T the longest
    response, True where a response has a token.
    """

    rows: pd.DataFrame
    sequences: Sequences
    outcome: Float[Tensor, " B"]
    group: Int[Tensor, " B"]
    mask: Bool[Tensor, "B T"]

    @property
    def num_tokens(self) -> int:
        """Response tokens in all."""
        return int(self.mask.sum())

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


def read_batch(
    files: RunFiles, iteration: int, *, with_greedy: bool = False, with_truth: bool = False
) -> LearningBatch:
    """The batch of one iteration.

    with_greedy: its rows have a greedy_outcome (remax); with_truth: a true_outcome
    (verification.flip_*).
    """
    schema = batch_schema(with_greedy, with_truth)
    return batch_of(read_table(files.batch(iteration), schema, files.root))


def batch_of(rows: pd.DataFrame) -> LearningBatch:
    """Rows with tokens, outcome and prompt_id as a batch."""
    lengths = torch.tensor([len(tokens) for tokens in rows["response_tokens"]])
    return LearningBatch(
        rows=rows,
        sequences=Sequences(
            [tokens.tolist() for tokens in rows["prompt_tokens"]],
            [tokens.tolist() for tokens in rows["response_tokens"]],
        ),
        outcome=torch.tensor(rows["outcome"].to_numpy(), dtype=torch.float32),
        # Estimators compare numbers, and ids of prompts may be any text.
        group=torch.from_numpy(pd.factorize(rows["prompt_id"])[0]),
        mask=torch.arange(int(lengths.max()))[None, :] < lengths[:, None],
    )


def read_rewards(files: RunFiles, iteration: int, batch: LearningBatch) -> pd.DataFrame:
    """Rewards of the batch, row for row. Raises TableError for those of other responses."""
    return _read_beside(files.rewards(iteration), REWARDS, files, iteration, batch)


def read_values(files: RunFiles, iteration: int, batch: LearningBatch) -> Float[Tensor, "B T"]:
    """Values of the batch's states, row for row. Raises TableError for other responses'."""
    values = _read_beside(files.values(iteration), VALUES, files, iteration, batch)
    return batch.matrix(values["values"])


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
