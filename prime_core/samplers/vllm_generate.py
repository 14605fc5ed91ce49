"""Sampling by vLLM: continuous batching, each prompt computed once for all its responses.

Each response draws from its own seed, so what is sampled does not depend on which responses share
a batch. The numbers drawn are vLLM's own: from the same seeds another sampler, or another
generation of vLLM, draws other responses of the same distribution.

docs/decisions.md#vllm-seeds
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from prime_core.models.load import load_config, load_tokenizer, saved_eos_token_ids
from prime_core.runtime import kept
from prime_core.samplers.finished import FinishedResponses
from prime_core.samplers.kept_vllm import kept_engine, release_memory
from prime_core.samplers.request import (
    Engine,
    Request,
    Sampled,
    SamplerError,
    SamplingParams,
    room_for_response,
)
from prime_core.samplers.vllm_platform import stdout_to_stderr, why_vllm_cannot_run
from prime_core.storage import node_cache

if TYPE_CHECKING:
    from vllm import LLM

# A part of the requests is finished before the next begins, and is what a kill can cost. At the end
# of a part the engine runs half empty: about one batch in 16 is lost.
PART_BATCHES = 8
TEMPERATURES = (0.01, 2.0)  # vLLM raises lower ones to the first, and refuses higher ones
# Parts of vLLM's messages: it raises ValueError and RuntimeError for everything, without classes of
# its own that would tell lack of memory from the rest.
NO_ROOM = re.compile(
    r"out of memory|can't allocate memory|No available memory|KV cache is needed|"
    r"Available memory on node|less than desired|engine's budget"
)
# With several workers the cause stays in the log of a worker's process; this alone is raised here.
NO_WORKERS = re.compile(r"(WorkerProc|Engine core) initialization failed")


def sample(
    model_path: Path,
    dtype: str,
    requests: Sequence[Request],
    params: SamplingParams,
    engine: Engine,
    progress: Callable[[int], object],
    finished: FinishedResponses,
) -> list[Sampled]:
    """One response for each request, in the requests' order. finished: responses drawn before.

    Raises SamplerError where vLLM cannot run, or has no room for the model.
    """
    if not requests:
        return []
    with stdout_to_stderr():
        # Asked here too, since it sets the environment that vLLM reads on import.
        if reason := why_vllm_cannot_run(model_path):
            raise SamplerError(f"rollout.sampler 'vllm' cannot sample here: {reason}")
        _refuse_temperature(params.temperature)
        eos = saved_eos_token_ids(model_path, load_tokenizer(model_path))
        with node_cache.cached_copy(model_path) as copy:
            arguments = engine_arguments(Path(copy), dtype, requests, params, engine)
            with (
                _explained(model_path, arguments),
                _engine(model_path, Path(copy), arguments) as llm,
            ):
                return [
                    response
                    for indices in _parts(len(requests), engine.batch_size)
                    for response in _part(llm, requests, indices, params, eos, progress, finished)
                ]


def engine_arguments(
    model_path: Path,
    dtype: str,
    requests: Sequence[Request],
    params: SamplingParams,
    engine: Engine,
) -> dict[str, Any]:
    """What vLLM's engine is started with. Raises SamplerError for impossible GPUs."""
    from vllm.platforms import current_platform

    config = load_config(model_path).get_text_config()
    # Of a response that is continued the beginning is no prompt, or rounds would differ in length.
    longest = max(len(one.prompt_tokens) - one.num_before for one in requests)
    max_model_len = _max_model_len(model_path, config, longest, params, engine)
    arguments: dict[str, Any] = {
        "model": str(model_path.resolve()),
        "dtype": dtype,
        "skip_tokenizer_init": True,  # tokens go in, tokens come out
        "generation_config": "vllm",  # not the model's advice for chatting
        "logprobs_mode": "processed_logprobs",  # of the distribution that was drawn from
        "enable_prefix_caching": True,  # responses to one prompt are separate requests
        "max_model_len": max_model_len,
        "max_num_seqs": engine.batch_size,
        "tensor_parallel_size": engine.tensor_parallel_size,
        "gpu_memory_utilization": engine.gpu_memory_utilization,
        "enforce_eager": engine.enforce_eager,
        "seed": 0,  # of draws without their own seed, none of which are returned
    }
    _refuse_heads(config, engine.tensor_parallel_size)
    if current_platform.is_cpu():
        # A response's generator cannot be rewound there when a prompt is computed in parts.
        whole = {
            "enable_chunked_prefill": False,
            # Unchunked, vLLM wants room for a whole sequence in each step.
            "max_num_batched_tokens": max(max_model_len, 4096),
        }
        # Compiling would take most of the startup: docs/decisions.md#sampler-auto
        return arguments | whole | {"enforce_eager": True}
    _refuse_gpus(engine.tensor_parallel_size, current_platform.device_count())
    return arguments


def _max_model_len(
    model_path: Path, config: Any, longest: int, params: SamplingParams, engine: Engine
) -> int:
    """Tokens of prompt and response. Where the model has enough positions it is the same for every
    shard, since vLLM caches what it compiles by this length. vLLM ends a response there."""
    usual = max(longest, engine.max_prompt_length) + params.max_response_length
    positions = getattr(config, "max_position_embeddings", None) or usual
    if usual <= positions:
        return usual
    if params.ends_with_positions:
        room_for_response(positions, longest, params, model_path)  # refuses a prompt without room
        return positions
    # What this shard needs may fit although the usual length does not; else vLLM refuses it.
    return longest + params.max_response_length


def _refuse_temperature(temperature: float) -> None:
    low, high = TEMPERATURES
    if temperature != 0 and not low <= temperature <= high:
        raise SamplerError(
            f"temperature {temperature}: vLLM samples at 0 (greedy) or {low} to {high}; "
            "set rollout.sampler to transformers for others"
        )


def _refuse_heads(config: Any, tensor_parallel_size: int) -> None:
    heads = getattr(config, "num_attention_heads", tensor_parallel_size)
    if heads % tensor_parallel_size:
        raise SamplerError(
            f"rollout.tensor_parallel_size {tensor_parallel_size} does not divide the model's "
            f"{heads} attention heads"
        )


def _refuse_gpus(tensor_parallel_size: int, num_gpus: int) -> None:
    if tensor_parallel_size > num_gpus:
        raise SamplerError(
            f"rollout.tensor_parallel_size {tensor_parallel_size} needs as many GPUs in this job, "
            f"which sees {num_gpus}; ask for more in the file of stage_resources"
        )


@contextmanager
def _engine(model_path: Path, copy: Path, arguments: dict[str, Any]) -> Iterator[LLM]:
    """An engine with these weights: one that this process keeps, or one that ends afterwards."""
    from vllm.platforms import current_platform

    on_cpu = current_platform.is_cpu()
    if on_cpu:  # the variable alone comes too late where torch is imported
        torch._dynamo.config.disable = True
    if kept.keeps():
        # Room for others is made between stages, so not by what one stage keeps for itself.
        sleeps = kept.rests() and not on_cpu
        with kept_engine(model_path, copy, arguments, sleeps) as llm:
            yield llm
    else:
        with _started(arguments) as llm:
            yield llm


@contextmanager
def _started(arguments: dict[str, Any]) -> Iterator[LLM]:
    """An engine, whose memory is freed afterwards."""
    from vllm import LLM

    llm = None
    try:
        llm = LLM(**arguments)
        yield llm
    finally:
        # Scores may follow in this process (evaluate), and need the memory that the engine holds.
        if llm is not None:
            llm.llm_engine.engine_core.shutdown()
        del llm
        release_memory()


def _parts(num_requests: int, batch_size: int) -> list[range]:
    """Requests that are generated together, by index: by themselves, whatever is finished."""
    size = PART_BATCHES * batch_size
    return [range(start, min(start + size, num_requests)) for start in range(0, num_requests, size)]


def _part(
    llm: LLM,
    requests: Sequence[Request],
    indices: range,
    params: SamplingParams,
    eos: list[int],
    progress: Callable[[int], object],
    finished: FinishedResponses,
) -> list[Sampled]:
    """The responses of one part, drawn unless they are finished."""
    drawn = finished.batch(indices)
    if drawn is not None:
        progress(len(drawn))
        return drawn
    # Prompts that an earlier part has left in the cache would be there or not, by what is finished.
    llm.reset_prefix_cache()
    drawn = _generate(llm, [requests[index] for index in indices], params, eos, progress)
    finished.add(indices, drawn)
    return drawn


def _generate(
    llm: LLM,
    requests: Sequence[Request],
    params: SamplingParams,
    eos: list[int],
    progress: Callable[[int], object],
) -> list[Sampled]:
    from vllm import RequestOutput

    # All before the first is answered: which requests share a step does not depend on timing.
    llm.enqueue(
        [{"prompt_token_ids": request.prompt_tokens} for request in requests],
        [_vllm_params(params, request, eos) for request in requests],
        use_tqdm=False,
    )
    answers = llm.wait_for_completion(RequestOutput, use_tqdm=_counter(progress))
    return [_sampled(answer.outputs[0]) for answer in answers]


def _vllm_params(params: SamplingParams, request: Request, eos: list[int]) -> Any:
    from vllm import SamplingParams as VllmParams

    return VllmParams(
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        seed=request.seed,
        max_tokens=params.max_response_length - request.num_before,
        stop_token_ids=eos,
        ignore_eos=True,  # `eos` holds all ends
        logprobs=0,  # of the drawn token alone
        flat_logprobs=True,  # else an object a token, which the garbage collector walks
        detokenize=False,  # there is no tokenizer
    )


def _sampled(answer: Any) -> Sampled:
    """A response from vLLM's output. Raises SamplerError for one that vLLM aborted."""
    if answer.finish_reason not in ("stop", "length"):
        raise SamplerError(f"vLLM aborted a response: {answer.finish_reason}")
    tokens, logprobs = list(answer.token_ids), list(answer.logprobs.logprobs)
    assert tokens == list(answer.logprobs.token_ids), "one log-probability a token"
    return Sampled(tokens, logprobs, answer.finish_reason)


def _counter(progress: Callable[[int], object]) -> Callable[..., tqdm]:
    """vLLM's progress bar, hidden, which reports finished responses to ours."""

    class Counter(tqdm):
        def update(self, n: float | None = 1) -> bool | None:
            progress(int(n or 0))
            return super().update(n)

    return lambda **options: Counter(**options, file=io.StringIO())


@contextmanager
def _explained(model_path: Path, arguments: dict[str, Any]) -> Iterator[None]:
    """Say in one sentence what to change where vLLM has no room."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
        length = f"sequences of {arguments['max_model_len']} tokens"
        if "derived max_model_len" in str(error):
            raise SamplerError(
                f"{model_path}: the model has no positions for {length}; lower "
                "max_response_length, or data.max_prompt_length"
            ) from error
        if NO_ROOM.search(str(error)):
            raise SamplerError(
                f"{model_path}: no memory for vLLM with {length}, {_sizes(arguments)} "
                f"({reason}); {_ADVICE}"
            ) from error
        if NO_WORKERS.search(str(error)):
            raise SamplerError(
                f"{model_path}: vLLM did not start with {length}, {_sizes(arguments)}; its own "
                f"error is above; if it mentions memory: {_ADVICE}"
            ) from error
        raise


def _sizes(arguments: dict[str, Any]) -> str:
    names = ("tensor_parallel_size", "gpu_memory_utilization")
    return ", ".join(f"rollout.{name} {arguments[name]}" for name in names)


_ADVICE = (
    "change rollout.gpu_memory_utilization, raise rollout.tensor_parallel_size, or lower "
    "data.max_prompt_length and max_response_length"
)
