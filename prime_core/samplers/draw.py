"""One call of a sampler by name, with the responses that an earlier job had finished."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prime_core.samplers import Engine, Sampled, SamplerError, load_sampler
from prime_core.samplers.finished import FinishedResponses, fingerprint
from prime_core.settings.run import Settings


def draw(
    sampler: str, how: tuple[Any, ...], progress: Callable[[int], object], partial: Path | None
) -> list[Sampled]:
    """One response for each request, in their order.

    sampler: a name in SAMPLERS. how: model_path, dtype, requests, params, engine, as samplers take
    them. partial: where finished responses are kept; None: nowhere. Raises SamplerError where the
    model predicts NaN.
    """
    with FinishedResponses(partial, fingerprint(sampler, *how) if partial else "") as finished:
        sampled = load_sampler(sampler)(*how, progress, finished)
    # NaN in a table would reach the policy's loss a stage later, where nobody knows its cause.
    if not all(math.isfinite(value) for response in sampled for value in response.logprobs):
        raise SamplerError(f"{how[0]}: {sampler} returned log-probabilities that are NaN")
    return sampled


def engine_of(settings: Settings) -> Engine:
    """The part of a run's settings that says how a sampler computes."""
    rollout = settings.rollout
    return Engine(
        batch_size=rollout.sampler_batch_size,
        max_prompt_length=settings.data.max_prompt_length,
        tensor_parallel_size=rollout.tensor_parallel_size,
        gpu_memory_utilization=rollout.gpu_memory_utilization,
        enforce_eager=rollout.enforce_eager,
    )
