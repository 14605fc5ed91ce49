"""Log-probabilities of tokens, and entropies of the distributions that they were drawn from.

In: logits [N, V], or the hidden states [N, H] that an output layer turns into logits; tokens [N].
Out: float32 [N], differentiable. All logits of a long batch would be by far the largest tensor of a
training step, so only those of a few tokens exist at a time; the backward pass recomputes them.
docs/decisions.md#logprobs-in-model
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from prime_core.masked import at_least_float32

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class _Predictions(torch.autograd.Function):
    """Holds two tensors [..., V] in the backward pass, three with entropy; autograd holds five."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, tokens: Tensor, temperature: float, with_entropy: bool
    ) -> tuple[Tensor, Tensor | None]:
        wide = at_least_float32(logits)
        logprobs = (wide if temperature == 1 else wide / temperature).log_softmax(-1)
        # In place: the product would be one more [N, V] tensor at the peak of the forward pass.
        entropy = -logprobs.exp().mul_(logprobs).sum(-1) if with_entropy else None
        # Not the logits: the backward pass needs probabilities, which are one exp away from these.
        ctx.save_for_backward(logprobs, tokens, entropy)
        ctx.temperature, ctx.dtype = temperature, logits.dtype
        # An entropy that no loss uses must arrive as None, not as zeros, or its part of the
        # gradient would be computed for nothing.
        ctx.set_materialize_grads(False)
        return logprobs.gather(-1, tokens[..., None]).squeeze(-1), entropy

    @staticmethod
    # In-place operations are invisible to autograd: a second derivative would be silently wrong.
    @once_differentiable
    def backward(
        ctx: Any, of_logprobs: Tensor | None, of_entropy: Tensor | None
    ) -> tuple[Tensor, None, None, None]:
        logprobs, tokens, entropy = ctx.saved_tensors
        if of_logprobs is None:
            of_logprobs = torch.zeros_like(logprobs[..., 0])
        # -p_v is a factor of both gradients (see `predictions`): one [N, V] buffer serves for both.
        gradient = logprobs.exp().neg_()
        if of_entropy is None:
            gradient.mul_(of_logprobs[..., None])
        else:
            shares = (logprobs + entropy[..., None]).mul_(of_entropy[..., None])
            gradient.mul_(shares.add_(of_logprobs[..., None]))
        # 1[v = y] has one entry per row; as a one-hot matrix it would be another [N, V] tensor.
        gradient.scatter_add_(-1, tokens[..., None], of_logprobs[..., None])
        return gradient.div_(ctx.temperature).to(ctx.dtype), None, None, None


def predictions(
    logits: Float[Tensor, "*N V"],
    tokens: Int[Tensor, " *N"],
    temperature: float = 1.0,
    with_entropy: bool = True,
) -> tuple[Float[Tensor, " *N"], ...]:
    """Log-probability of each token under its logits l, and the entropy of the distribution (nats).

        log p_v = l_v / T - log sum_u exp(l_u / T)      H = -sum_v p_v log p_v

        d log p_y / d l_v = (1[v = y] - p_v) / T        d H / d l_v = -p_v (log p_v + H) / T

    Without `with_entropy` the tuple has one element. Sums over a vocabulary need float32: bf16 is
    widened.
    """
    logprobs, entropy = _Predictions.apply(logits, tokens, temperature, with_entropy)
    return (logprobs, entropy) if with_entropy else (logprobs,)


def head_predictions(
    head: Callable[[Tensor], Tensor],
    hidden: Float[Tensor, "N H"],
    tokens: Int[Tensor, " N"],
    *,
    temperature: float,
    chunk_tokens: int,
    with_entropy: bool,
) -> tuple[Float[Tensor, " N"], ...]:
    """`predictions` of head(hidden), the logits of `chunk_tokens` tokens at a time."""

    def of_chunk(hidden: Tensor, tokens: Tensor) -> tuple[Tensor, ...]:
        return predictions(head(hidden), tokens, temperature, with_entropy)

    # A checkpoint around everything would compute the logits twice and lower no peak.
    if len(tokens) <= chunk_tokens:
        return of_chunk(hidden, tokens)
    # The generator's state is not kept, since a head and a softmax draw no random numbers.
    parts = [
        # A reentrant checkpoint would deliver each weight's gradient in pieces, which DeepSpeed
        # refuses.
        checkpoint(of_chunk, *chunk, use_reentrant=False, preserve_rng_state=False)
        for chunk in zip(hidden.split(chunk_tokens), tokens.split(chunk_tokens), strict=True)
    ]
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))
