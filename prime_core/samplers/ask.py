"""Sampling responses to a table of prompts: the rows of a rollout or of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.models.load import load_tokenizer
from prime_core.models.prompts import prompt_tokens
from prime_core.runtime.partial_rows import partial_path
from prime_core.samplers import (
    Engine,
    Request,
    Sampled,
    SamplerError,
    SamplingParams,
    load_sampler,
    request_seed,
)
from prime_core.samplers.finished import FinishedResponses, fingerprint
from prime_core.settings.run import Settings


def ask(
    *,
    sampler: str,
    model_path: Path,
    prompts: pd.DataFrame,
    purpose: str,
    iteration: int,
    n_samples_per_prompt: int,
    params: SamplingParams,
    settings: Settings,
    progress: Callable[[int], object],
    output: Path | None,
    kept_as: str = "responses",
) -> list[dict[str, Any]]:
    """Responses to each prompt, prompt by prompt: columns of ROLLOUTS without policy_iteration.

    purpose: enters the random numbers, so that evaluations and rollouts never share them. The rest
    is as for `sampled_responses`.
    """
    tokenizer = load_tokenizer(model_path)
    tokens = [prompt_tokens(tokenizer, list(messages)) for messages in prompts["prompt"]]
    samples, ids = range(n_samples_per_prompt), enumerate(prompts["prompt_id"])
    keys = [(*key, sample) for key in ids for sample in samples]
    # Seeds by prompt and sample, not by row: shards and the table's order draw the same responses.
    requests = [
        Request(tokens[index], request_seed(settings.seed, purpose, iteration, prompt_id, sample))
        for index, prompt_id, sample in keys
    ]
    sampled = sampled_responses(
        sampler=sampler,
        model_path=model_path,
        requests=requests,
        params=params,
        settings=settings,
        progress=progress,
        output=output,
        kept_as=kept_as,
    )
    return [
        {
            "prompt_id": prompt_id,
            "sample": sample,
            "prompt_tokens": tokens[index],
            "response_tokens": response.tokens,
            "sampler_logprobs": response.logprobs,
            # For verifiers and people: training reads the tokens, which a text may not give back.
            "text": tokenizer.decode(response.tokens, skip_special_tokens=True),
            "finish_reason": response.finish_reason,
        }
        for (index, prompt_id, sample), response in zip(keys, sampled, strict=True)
    ]


def sampled_responses(
    *,
    sampler: str,
    model_path: Path,
    requests: Sequence[Request],
    params: SamplingParams,
    settings: Settings,
    progress: Callable[[int], object],
    output: Path | None,
    kept_as: str,
) -> list[Sampled]:
    """A response to each request, of those that were kept or drawn now.

    sampler: a name in SAMPLERS. output: the table beside which finished responses are kept until it
    is written, as this kind; None: nowhere. Raises SamplerError where the model predicts NaN.
    """
    how = (model_path, settings.model.dtype, requests, params, engine_of(settings))
    partial = partial_path(output, kept_as) if output else None
    with _finished(partial, sampler, how) as finished:
        sampled = load_sampler(sampler)(*how, progress, finished)
    # NaN in a table would reach the policy's loss a stage later, where nobody knows its cause.
    if not all(math.isfinite(value) for response in sampled for value in response.logprobs):
        raise SamplerError(f"{model_path}: {sampler} returned log-probabilities that are NaN")
    return sampled


def _finished(partial: Path | None, sampler: str, how: tuple[Any, ...]) -> FinishedResponses:
    return FinishedResponses(partial, fingerprint(sampler, *how) if partial else "")


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
