"""Log-probabilities and entropies of tokens from logits, without a float32 copy of the logits.

In: logits [B, T, V] of any float type, tokens [B, T]. Out: float32 [B, T], differentiable. The
logits of a long batch are the largest tensor of a training step: they are widened a few thousand
tokens at a time, and once more in the backward pass instead of being kept.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from prime_core.masked import at_least_float32

CHUNK_TOKENS = 1024


def token_logprobs(
    logits: Float[Tensor, "B T V"], tokens: Int[Tensor, "B T"], chunk_tokens: int = CHUNK_TOKENS
) -> Float[Tensor, "B T"]:
    """Log-probability of each token under the logits of its position.

    log p(y_t) = l_t[y_t] - log sum_v exp l_t[v]
    """
    return _chunked(_logprobs, chunk_tokens, logits, tokens[..., None])


def token_entropy(
    logits: Float[Tensor, "B T V"], chunk_tokens: int = CHUNK_TOKENS
) -> Float[Tensor, "B T"]:
    """Entropy of each position's distribution, in nats.

    H_t = -sum_v p_t(v) log p_t(v)
    """
    return _chunked(_entropy, chunk_tokens, logits)


def _logprobs(logits: Float[Tensor, "N V"], tokens: Int[Tensor, "N 1"]) -> Float[Tensor, " N"]:
    logits = at_least_float32(logits)
    return logits.gather(1, tokens).squeeze(1) - logits.logsumexp(1)


def _entropy(logits: Float[Tensor, "N V"]) -> Float[Tensor, " N"]:
    logprobs = at_least_float32(logits).log_softmax(1)
    return -(logprobs.exp() * logprobs).sum(1)


def _chunked(
    function: Callable[..., Tensor], chunk_tokens: int, *tensors: Float[Tensor, "B T _"]
) -> Float[Tensor, "B T"]:
    """The function of chunks of the flattened tokens, recomputed in the backward pass."""
    # split, not slices: its backward pass joins the chunks' gradients once.
    chunks = zip(*(tensor.flatten(0, 1).split(chunk_tokens) for tensor in tensors), strict=True)
    values = [
        checkpoint(function, *chunk, use_reentrant=False, preserve_rng_state=False)
        for chunk in chunks
    ]
    return torch.cat(values).view(tensors[0].shape[:2])
