"""Asking a model a table of prompts: the rows of a rollout or of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.samplers import Request, SamplingParams, load_sampler, request_seed
from prime_core.settings import Settings
from prime_core.training.models import load_tokenizer, prompt_tokens


def ask(
    *,
    model_path: Path,
    prompts: pd.DataFrame,
    purpose: str,
    iteration: int,
    n_samples_per_prompt: int,
    params: SamplingParams,
    settings: Settings,
    progress: Callable[[int], object],
) -> list[dict[str, Any]]:
    """Responses to each prompt, prompt by prompt, with the columns of ROLLOUTS but the policy's.

    purpose: enters the random numbers, so that evaluations and rollouts never share them.
    """
    tokenizer = load_tokenizer(model_path)
    tokens = [prompt_tokens(tokenizer, list(messages)) for messages in prompts["prompt"]]
    keys = [
        (place, prompt_id, sample)
        for place, prompt_id in enumerate(prompts["prompt_id"])
        for sample in range(n_samples_per_prompt)
    ]
    requests = [
        Request(tokens[place], request_seed(settings.seed, purpose, iteration, prompt_id, sample))
        for place, prompt_id, sample in keys
    ]
    sampled = load_sampler(settings.rollout.sampler)(
        model_path,
        settings.model.dtype,
        requests,
        params,
        settings.rollout.sampler_batch_size,
        progress,
    )
    return [
        {
            "prompt_id": prompt_id,
            "sample": sample,
            "prompt_tokens": tokens[place],
            "response_tokens": response.tokens,
            "sampler_logprobs": response.logprobs,
            "text": tokenizer.decode(response.tokens, skip_special_tokens=True),
            "finish_reason": response.finish_reason,
        }
        for (place, prompt_id, sample), response in zip(keys, sampled, strict=True)
    ]
