"""Sampling responses to a table of prompts: the rows of a rollout or of an evaluation.

Problems of an environment (data.env) are answered by episodes (episodes.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import PreTrainedTokenizerBase

from prime_core.models.load import load_tokenizer
from prime_core.models.prompts import prompt_tokens
from prime_core.runtime.partial_rows import partial_path
from prime_core.samplers import Request, Sampled, SamplingParams, request_seed
from prime_core.samplers.draw import draw, engine_of
from prime_core.samplers.episodes import ENV, play
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

    sampler: a name in SAMPLERS. purpose: enters the random numbers, so that evaluations and
    rollouts never share them. output: the table beside which finished responses are kept until it
    is written, as this kind; None: nowhere. Raises SamplerError where the model predicts NaN.
    """
    if settings.data.env is not None and (prompts["ability"] == ENV).all():
        return play(
            sampler=sampler,
            model_path=model_path,
            prompts=prompts,
            purpose=purpose,
            iteration=iteration,
            n_samples_per_prompt=n_samples_per_prompt,
            params=params,
            settings=settings,
            progress=progress,
            output=output,
            kept_as=kept_as,
        )
    tokenizer = load_tokenizer(model_path)
    tokens = [prompt_tokens(tokenizer, list(messages)) for messages in prompts["prompt"]]
    samples, ids = range(n_samples_per_prompt), enumerate(prompts["prompt_id"])
    keys = [(index, prompt_id, sample) for index, prompt_id in ids for sample in samples]
    # Seeds by prompt and sample, not by row: shards and the table's order draw the same responses.
    of = (settings.seed, purpose, iteration)
    requests = [Request(tokens[row], request_seed(*of, name, n)) for row, name, n in keys]
    how = (model_path, settings.model.dtype, requests, params, engine_of(settings))
    partial = partial_path(output, kept_as) if output else None
    sampled = draw(sampler, how, progress, partial)
    return [
        response_row(tokenizer, prompt_id, sample, tokens[index], response)
        for (index, prompt_id, sample), response in zip(keys, sampled, strict=True)
    ]


def response_row(
    tokenizer: PreTrainedTokenizerBase,
    prompt_id: str,
    sample: int,
    prompt: list[int],
    response: Sampled,
) -> dict[str, Any]:
    """Columns of ROLLOUTS without policy_iteration."""
    return {
        "prompt_id": prompt_id,
        "sample": sample,
        "prompt_tokens": prompt,
        "response_tokens": response.tokens,
        "sampler_logprobs": response.logprobs,
        # For verifiers and people: training reads the tokens, which a text may not give back.
        "text": tokenizer.decode(response.tokens, skip_special_tokens=True),
        "finish_reason": response.finish_reason,
    }
