"""Log-probabilities of responses under a model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from prime_core.logprobs import head_predictions
from prime_core.runtime.partial_rows import PartialRows
from prime_core.training.batches import Padded, Sequences
from prime_core.training.distributed import gather
from prime_core.training.logprob_model import Batch, matrix
from prime_core.training.passes import Passes

CHUNK_TOKENS = 256


def response_logprobs(
    model: Callable, batch: Batch, temperature: float = 1.0, chunk_tokens: int = CHUNK_TOKENS
) -> Float[Tensor, "B T"]:
    """Log-probability of each response token, 0 after the response's end."""
    return _predictions(model, batch, temperature, chunk_tokens, with_entropy=False)[0]


def logprobs_and_entropy(
    model: Callable, batch: Batch, temperature: float, chunk_tokens: int = CHUNK_TOKENS
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Log-probability of each response token, and the entropy of its prediction (nats)."""
    logprobs, entropy = _predictions(model, batch, temperature, chunk_tokens, with_entropy=True)
    return logprobs, entropy


def ragged_logprobs(
    model: Callable,
    sequences: Sequences,
    passes: Passes,
    *,
    temperature: float = 1.0,
    progress: Callable[[int], object] = lambda _num_rows: None,
    finished: PartialRows | None = None,
) -> list[list[float]]:
    """Log-probabilities of every response, as ragged rows in the sequences' order. No gradient.

    finished: as in ragged_rows.
    """

    def logprobs(batch: Batch) -> Tensor:
        return response_logprobs(model, batch, temperature, passes.chunk_tokens)

    return ragged_rows(logprobs, sequences, passes, progress, finished)


def ragged_rows(
    numbers_of: Callable[[Batch], Tensor],
    sequences: Sequences,
    passes: Passes,
    progress: Callable[[int], object] = lambda _num_rows: None,
    finished: PartialRows | None = None,
) -> list[list[float]]:
    """One number for each response token, row by row in the sequences' order. No gradient.

    numbers_of(batch): [B, T] of one pass. The ranks share the work, and each gets all results.
    finished: this rank's rows so far, of an earlier job as well: their passes are left out.
    """
    found: dict[int, list[float]] = {}  # by row: passes and ranks are ordered by length
    work = passes.of_rank(range(len(sequences)), sequences)
    num_finished = _passes_finished(work, finished)
    with torch.no_grad():
        for number, rows in enumerate(work):
            if finished is not None and number < num_finished:
                found |= {row: finished.rows[row] for row in rows}
            else:
                # a rank without rows still runs the pass: the others wait for it
                numbers = numbers_of(passes.batch(sequences.take(rows or [0]))).cpu()
                lengths = [len(sequences.responses[row]) for row in rows]
                new = {row: numbers[i, : lengths[i]].tolist() for i, row in enumerate(rows)}
                found |= new
                if finished is not None and bool(numbers.isfinite().all()):
                    finished.keep(new)
            progress(len(rows))
    # By number of row: how rows were shared among ranks and passes leaves no trace.
    everything = {row: values for part in gather(found) for row, values in part.items()}
    return [everything[row] for row in range(len(sequences))]


def _passes_finished(work: Sequence[Sequence[int]], finished: PartialRows | None) -> int:
    """How many passes can be left out, from the first on."""
    if finished is None:
        return 0
    whole = (all(row in finished.rows for row in rows) for rows in work)
    own = sum(1 for _ in itertools.takewhile(bool, whole))
    # Ranks go through the model together: what one of them lacks all have to pass.
    return min(gather(own))


def _predictions(
    model: Callable, batch: Batch, temperature: float, chunk_tokens: int, with_entropy: bool
) -> list[Tensor]:
    how: Any = {
        "temperature": temperature,
        "chunk_tokens": chunk_tokens,
        "with_entropy": with_entropy,
    }
    if getattr(model, "gives_logprobs", False):
        return [matrix(values, batch) for values in model(batch=batch, **how)]
    assert isinstance(batch, Padded), "a model of this family cannot be given packed sequences"
    logits = _response_logits(model, batch).flatten(0, 1)
    # The logits are there already, hence no head; chunks still bound their float32 copies.
    found = head_predictions(lambda part: part, logits, batch.response_ids.flatten(), **how)
    rows = [values.view(batch.mask.shape) for values in found]
    return [values.masked_fill(~batch.mask, 0.0) for values in rows]


def _response_logits(model: Callable, batch: Padded) -> Float[Tensor, "B T V"]:
    """All logits that predict response tokens, as the model itself computes them."""
    logits = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        use_cache=False,
        # One more than the response: its first token is predicted by the prompt's last.
        logits_to_keep=batch.response_ids.shape[1] + 1,
    ).logits
    return logits[:, :-1]  # a token is predicted by the one before it; the last predicts nothing
