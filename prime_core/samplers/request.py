"""What a sampler is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from prime_core.run.seeds import derive_seed


@dataclass(frozen=True)
class Request:
    """One response to sample: the prompt's tokens, and the seed of its random numbers.

    The seed belongs to the response alone, so neither shards nor batches change what is drawn.
    num_before: how many of the last of these tokens begin the response, which is continued.
    """

    prompt_tokens: list[int]
    seed: int
    num_before: int = 0


@dataclass(frozen=True)
class SamplingParams:
    """How responses are drawn. top_k 0 and top_p 1: off. temperature 0: greedy, without them.

    ends_with_positions: a response is cut where prompt and response fill the model's positions, as
    in evaluations that allow more tokens than the model has; else such a request is refused.
    """

    temperature: float
    top_p: float
    top_k: int
    max_response_length: int
    ends_with_positions: bool = False


@dataclass(frozen=True)
class Engine:
    """How responses are computed; none of it changes what is drawn, beyond rounding.

    batch_size: responses generated together. max_prompt_length: tokens to reserve room for. The
    rest is vLLM's: GPUs that share one copy of the model, share of each GPU's memory, and whether
    to do without CUDA graphs.
    """

    batch_size: int
    max_prompt_length: int = 1
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    enforce_eager: bool = False


class SamplerError(ValueError):
    """A sampler cannot be used here, or for this model."""


def room_for_response(
    positions: int | None, prompt_length: int, params: SamplingParams, model: object
) -> int:
    """Tokens that a response to such a prompt may have. positions: the model's; None: no limit.

    Raises SamplerError where the prompt alone fills the positions.
    """
    # Training refuses such lengths instead: docs/decisions.md#evaluation-positions
    if not params.ends_with_positions or positions is None:
        return params.max_response_length
    if prompt_length >= positions:
        raise SamplerError(
            f"{model}: a prompt of {prompt_length} tokens leaves no room for a response in the "
            f"model's {positions} positions; leave its problem out of the benchmark's table"
        )
    return min(params.max_response_length, positions - prompt_length)


@dataclass(frozen=True)
class Sampled:
    """One response: its tokens (EOS included), their log-probabilities under the distribution they
    were drawn from, and why it ended ("stop": EOS, "length": cut)."""

    tokens: list[int]
    logprobs: list[float]
    finish_reason: str


def request_seed(
    seed: int, purpose: str, iteration: int, prompt_id: str, sample: int, *turn: int
) -> int:
    """Seed of one response of one iteration, or of one turn of it."""
    return derive_seed(seed, purpose, iteration, prompt_id, sample, *turn)
