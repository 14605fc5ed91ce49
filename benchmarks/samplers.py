"""Print vLLM beside transformers on one model: tokens a second, equal tokens, log-probabilities.

    python -m benchmarks.samplers                                  # a Qwen2 of 3 M parameters, CPU
    python -m benchmarks.samplers --model PATH --dtype bfloat16 --num-prompts 256 --new-tokens 1024

Tokens a second exclude the engine's startup: the seconds of a call that samples one token per
prompt. Log-probabilities are compared with those that training computes for the same tokens.
"""

import argparse
import gc
import random
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.small_model import small_model
from prime_core.models.load import load_model, load_tokenizer
from prime_core.samplers import (
    Engine,
    FinishedResponses,
    Request,
    Sampled,
    SamplingParams,
    load_sampler,
    request_seed,
)
from prime_core.samplers.vllm_platform import stdout_to_stderr, why_vllm_cannot_run
from prime_core.settings.training import Training
from prime_core.training.batches import Sequences
from prime_core.training.logprob_model import give_logprobs
from prime_core.training.passes import passes_of
from prime_core.training.scoring import ragged_logprobs

ROW = "{:<13} {:>8} {:>9} {:>9} {:>10} {:>6}  {:>13} {:>11} {:>11}"
HEAD = ("sampler", "start s", "tokens", "sample s", "tokens/s", "ratio")
AGREEMENT = ("same as first", "mean |d|", "largest |d|")


def make_requests(options: argparse.Namespace, vocabulary: int) -> list[Request]:
    rng = random.Random(0)
    tokens = range(min(100, vocabulary // 2), vocabulary - 1)
    prompts = [rng.choices(tokens, k=options.prompt_length) for _ in range(options.num_prompts)]
    return [
        Request(prompt, request_seed(0, "benchmark", 0, str(place), sample))
        for place, prompt in enumerate(prompts)
        for sample in range(options.samples)
    ]


def call(
    sampler: str, requests: list[Request], params: SamplingParams, options: argparse.Namespace
) -> tuple[float, list[Sampled]]:
    """Seconds of one call, and the responses."""
    engine = Engine(
        batch_size=options.batch_size,
        max_prompt_length=options.prompt_length,
        tensor_parallel_size=options.tensor_parallel_size,
        gpu_memory_utilization=options.gpu_memory_utilization,
    )
    begun = time.perf_counter()
    responses = load_sampler(sampler)(
        *(options.model, options.dtype, requests, params, engine),
        *(lambda _count: None, FinishedResponses(None, "")),
    )
    seconds = time.perf_counter() - begun
    free_memory()
    return seconds, responses


def free_memory() -> None:
    """Release a model's memory: vLLM wants its share of the whole GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def difference(
    requests: list[Request], responses: list[Sampled], options: argparse.Namespace
) -> tuple[float, float]:
    """Mean and largest distance from the log-probabilities that training computes."""
    model = load_model(options.model, options.dtype)
    tokenizer = load_tokenizer(options.model)
    rows = ragged_logprobs(
        model,
        Sequences([one.prompt_tokens for one in requests], [one.tokens for one in responses]),
        passes_of(Training(), 4, tokenizer, packs=give_logprobs(model)),
    )
    del model
    apart = [
        abs(ours - theirs)
        for one, row in zip(responses, rows, strict=True)
        for ours, theirs in zip(one.logprobs, row, strict=True)
    ]
    free_memory()
    return sum(apart) / len(apart), max(apart)


def measure(
    sampler: str, options: argparse.Namespace, requests: list[Request]
) -> dict[str, object]:
    """Figures of one sampler. The first call warms up: compiled code, files in memory."""
    params = SamplingParams(1.0, 1.0, 0, options.new_tokens)
    one_token = SamplingParams(1.0, 1.0, 0, 1)
    call(sampler, requests, one_token, options)
    start, _ = call(sampler, requests, one_token, options)
    seconds, responses = call(sampler, requests, params, options)
    greedy = SamplingParams(0.0, 1.0, 0, options.new_tokens)
    first_samples = requests[:: options.samples]
    num_tokens = sum(len(one.tokens) for one in responses) - len(responses)
    mean, largest = difference(requests[:16], responses[:16], options)
    return {
        "start": start,
        "tokens": num_tokens,
        "seconds": max(seconds - start, 1e-9),
        "greedy": [one.tokens for one in call(sampler, first_samples, greedy, options)[1]],
        "mean": mean,
        "largest": largest,
    }


def show(figures: dict[str, dict]) -> None:
    """The table; the first sampler is what the others are compared with."""
    print(ROW.format(*HEAD, *AGREEMENT))
    first = next(iter(figures.values()))
    for name, one in figures.items():
        rate, base = one["tokens"] / one["seconds"], first["tokens"] / first["seconds"]
        equal = sum(a == b for a, b in zip(one["greedy"], first["greedy"], strict=True))
        print(
            ROW.format(
                name,
                f"{one['start']:.1f}",
                one["tokens"],
                f"{one['seconds']:.1f}",
                f"{rate:.0f}",
                f"{rate / base:.2f}",
                f"{equal} of {len(first['greedy'])}",
                f"{one['mean']:.1e}",
                f"{one['largest']:.1e}",
            ),
            flush=True,
        )
    print("same as first: greedy responses, token for token; |d|: log-probabilities, nats")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder; without it a small one is built")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--num-prompts", type=int, default=64)
    parser.add_argument("--samples", type=int, default=4, help="responses per prompt")
    parser.add_argument("--prompt-length", type=int, default=64, help="tokens")
    parser.add_argument("--new-tokens", type=int, default=64, help="tokens per response, at most")
    parser.add_argument("--batch-size", type=int, default=256, help="responses together")
    parser.add_argument("--tensor-parallel-size", type=int, default=1)
    parser.add_argument("--gpu-memory-utilization", type=float, default=0.9)
    return parser.parse_args()


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        options.model = options.model or small_model(Path(folder) / "model")
        with stdout_to_stderr():
            reason = why_vllm_cannot_run(options.model)
        if reason:
            sys.exit(f"nothing to compare: {reason}")
        requests = make_requests(options, len(load_tokenizer(options.model)))
        # transformers first: vLLM changes settings of torch and leaves them so.
        show({name: measure(name, options, requests) for name in ("transformers", "vllm")})


if __name__ == "__main__":
    main()
