"""Parts that sample: seconds of a token's step by vLLM and by transformers, of few and of many.

Both samplers are the project's own calls; their engines start once, outside what is timed. The
seconds of responses of one token, which are those of reading the prompts, are taken off.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from transformers import GenerationConfig

from benchmarks.gpu_trial.measuring import wait_for_device
from benchmarks.gpu_trial.trial import FIRST_TOKEN, Trial
from prime_core.models.load import load_model, load_tokenizer
from prime_core.planning.case import DTYPE_BYTES
from prime_core.planning.seconds import Sampling, step_bytes
from prime_core.samplers import Engine, Request, SamplingParams, transformers_generate
from prime_core.samplers.vllm_platform import stdout_to_stderr, why_vllm_cannot_run

Figures = dict[str, Any]
Generate = Callable[[list[Request], SamplingParams], list[Any]]


class LeftOut(Exception):
    """The part cannot run here, for a reason that is no failure."""


def transformers(trial: Trial) -> Figures:
    """transformers' generate in one batch."""
    begun = time.perf_counter()
    model, tokenizer = (
        load_model(trial.files.policy(0), trial.dtype),
        load_tokenizer(trial.files.policy(0)),
    )
    wait_for_device()
    load = time.perf_counter() - begun
    pad = int(tokenizer.pad_token_id)
    ends = [trial.shape.vocab_size - 1]  # once in as many tokens, so that hardly any row ends early
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=pad)

    def generate(requests: list[Request], params: SamplingParams) -> list[Any]:
        return transformers_generate._generate(model, requests, params, ends, pad)

    return {"load_s": load} | steps(trial, generate)


def vllm(trial: Trial) -> Figures:
    """vLLM's engine as sampling starts it. Raises LeftOut where it cannot run."""
    folder = trial.files.policy(0)
    with stdout_to_stderr():
        if reason := why_vllm_cannot_run(folder):
            raise LeftOut(reason)
        from prime_core.samplers import vllm_generate

        work = trial.work
        requests = asked(trial, work.many, work.long_prompt, seed=0)
        params = SamplingParams(1.0, 1.0, 0, work.new_tokens)
        engine = Engine(work.many, work.long_prompt)
        arguments = vllm_generate.engine_arguments(folder, trial.dtype, requests, params, engine)
        begun = time.perf_counter()
        with vllm_generate._started(arguments) as llm:
            start = time.perf_counter() - begun

            def generate(requests: list[Request], params: SamplingParams) -> list[Any]:
                ends = [trial.shape.vocab_size - 1]
                return vllm_generate._generate(llm, requests, params, ends, lambda _count: None)

            return {"engine_s": start} | steps(trial, generate)


def steps(trial: Trial, generate: Generate) -> Figures:
    """Seconds of a step and the bytes that it reads, few responses and many side by side."""
    work = trial.work
    timed_call(trial, generate, work.few, work.prompt_tokens, 2, seed=1)  # warms up
    figures: Figures = {"points": []}
    for number, prompt in ((work.few, work.prompt_tokens), (work.many, work.long_prompt)):
        # Other prompts for each call: vLLM keeps what it has computed of a prompt.
        once, _ = timed_call(trial, generate, number, prompt, 1, seed=2)
        all_, tokens = timed_call(trial, generate, number, prompt, work.new_tokens, seed=3)
        step = (all_ - once) / (work.new_tokens - 1)
        sampling = Sampling(number, number, prompt, work.new_tokens, work.new_tokens, number, 1)
        read = step_bytes(trial.shape, DTYPE_BYTES[trial.dtype], sampling, number)
        point = {"responses": number, "prompt_tokens": prompt, "step_s": step, "bytes": read}
        figures["points"].append(point | {"tokens_per_s": tokens / all_})
    return figures


def timed_call(
    trial: Trial, generate: Generate, number: int, prompt: int, new_tokens: int, seed: int
) -> tuple[float, int]:
    """Seconds of one call, and the tokens that it sampled."""
    requests = asked(trial, number, prompt, seed)
    wait_for_device()
    begun = time.perf_counter()
    responses = generate(requests, SamplingParams(1.0, 1.0, 0, new_tokens))
    wait_for_device()
    return time.perf_counter() - begun, sum(len(one.tokens) for one in responses)


def asked(trial: Trial, number: int, prompt: int, seed: int) -> list[Request]:
    """Requests of random prompts, each its own."""
    rng, tokens = random.Random(seed), range(FIRST_TOKEN, trial.shape.vocab_size - 1)
    return [Request(rng.choices(tokens, k=prompt), one) for one in range(number)]
