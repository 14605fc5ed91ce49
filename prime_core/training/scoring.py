"""Log-probabilities of responses under a model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from prime_core.logprobs import token_entropy, token_logprobs
from prime_core.training.batches import Padded, Sequences, by_length, pad


def response_logits(model: Callable, batch: Padded) -> Float[Tensor, "B T V"]:
    """Logits that predict each response token; those of the prompt are never computed."""
    num_response = batch.response_ids.shape[1]
    logits = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        use_cache=False,
        logits_to_keep=num_response + 1,
    ).logits
    return logits[:, :-1]


def response_logprobs(
    model: Callable, batch: Padded, temperature: float = 1.0
) -> Float[Tensor, "B T"]:
    """Log-probability of each response token, 0 behind the response's end."""
    logits = response_logits(model, batch) / temperature
    return token_logprobs(logits, batch.response_ids).masked_fill(~batch.mask, 0.0)


def score(
    model: Callable,
    sequences: Sequences,
    *,
    pad_token_id: int,
    device: torch.device,
    micro_batch_size: int,
    temperature: float = 1.0,
    progress: Callable[[int], object] = lambda _num_rows: None,
) -> list[list[float]]:
    """Log-probabilities of every response, as ragged rows in the sequences' order. No gradient."""
    rows: list[list[float]] = [[] for _ in range(len(sequences))]
    with torch.no_grad():
        for indices in by_length(sequences.lengths, micro_batch_size):
            batch = pad(sequences.take(indices), pad_token_id, device)
            logprobs = response_logprobs(model, batch, temperature).float().cpu()
            for place, index in enumerate(indices):
                rows[index] = logprobs[place, : len(sequences.responses[index])].tolist()
            progress(len(indices))
    return rows


def logprobs_and_entropy(
    model: Callable, batch: Padded, temperature: float
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Log-probability of each response token, and the entropy of each prediction (nats)."""
    logits = response_logits(model, batch) / temperature
    logprobs = token_logprobs(logits, batch.response_ids).masked_fill(~batch.mask, 0.0)
    return logprobs, token_entropy(logits)
