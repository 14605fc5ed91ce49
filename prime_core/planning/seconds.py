"""Expected seconds of each stage: reading, computing, writing.

In: a shape, the work, a GPU, assumptions. Out: seconds. FLOPs are counted, throughputs assumed:
good enough to tell minutes from hours, and to see which part of an iteration deserves attention.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from prime_core.planning.gpus import Gpu
from prime_core.planning.hardware import Assumptions
from prime_core.planning.shapes import ModelShape

# In the order in which they pass.
PHASES = ("queue", "start", "engine", "read", "compute", "write")


@dataclass(frozen=True)
class Seconds:
    """Seconds of one job of a stage, by phase; starts: processes and engines that start in it.

    beside: of a copy that is made after it, while other stages run.
    """

    queue: float
    start: float
    engine: float
    read: float
    compute: float
    write: float
    beside: float = 0.0
    starts: int = 1

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return sum(getattr(self, phase) for phase in PHASES)

    def times(self, number: int) -> Seconds:
        """Seconds of so many jobs, one after another."""
        phases = {field.name: number * getattr(self, field.name) for field in fields(self)}
        return Seconds(**phases)  # type: ignore[arg-type]


def forward_flops(shape: ModelShape, prompt_tokens: float, response_tokens: float) -> float:
    """FLOPs of one sequence's forward pass; the output layer sees the response alone.

    2 for each weight and token; causal attention 2 L q s^2 (queries by keys, weights by values).
    """
    tokens = prompt_tokens + response_tokens
    layers = 2.0 * shape.num_layers * shape.layer_parameters * tokens
    attention = 2.0 * shape.num_layers * shape.query_width * tokens**2
    return layers + attention + 2.0 * shape.output_parameters * (response_tokens + 1)


def passes_seconds(flops: float, num_gpus: int, gpu: Gpu, assumed: Assumptions) -> float:
    """Seconds of training or scoring, FLOPs spread over num_gpus."""
    return flops / (num_gpus * gpu.tflops * 1e12 * assumed.training_mfu)


@dataclass(frozen=True)
class Sampling:
    """One sampling job: its responses, and the engine on which they are computed.

    at_once: responses that fit side by side. Tokens are means; longest is the limit. continuous: a
    response that ends makes room for the next one (vLLM), else a whole batch runs until its last
    response ends (transformers).

    turns: of an episode, each of which reads all before it; then longest is a turn's limit, and
    drawn_share of the response's tokens are drawn.
    """

    num_responses: float
    num_prompts: float
    prompt_tokens: float
    response_tokens: float
    longest: int
    at_once: int
    num_gpus: int
    continuous: bool = True
    turns: float = 0.0
    drawn_share: float = 1.0

    @property
    def drawn_tokens(self) -> float:
        """Tokens that are drawn for a response."""
        return self.response_tokens * self.drawn_share


def sampling_seconds(
    shape: ModelShape, dtype_bytes: int, work: Sampling, gpu: Gpu, assumed: Assumptions
) -> float:
    """Seconds: prompts once, then a step for each token of all responses that run together.

    A step reads the weights and the cache of every response. The last responses to end have the
    GPU nearly to themselves.
    """
    if work.num_responses <= 0:
        return 0.0
    reading = passes_seconds(_prompt_flops(shape, work), work.num_gpus, gpu, assumed)
    calls = max(work.turns, 1.0)
    together = max(1.0, min(work.num_responses, work.at_once))
    if not work.continuous:
        batches = math.ceil(work.num_responses / together)
        step = _step(shape, dtype_bytes, work, together, gpu, assumed)
        return reading + calls * batches * work.longest * step
    waves = work.num_responses / together
    together_s = waves * work.drawn_tokens * _step(shape, dtype_bytes, work, together, gpu, assumed)
    left = calls * max(work.longest - work.drawn_tokens / calls, 0.0)
    few = max(1.0, 0.05 * together)  # assumed: one in twenty runs on to the limit
    return reading + together_s + left * _step(shape, dtype_bytes, work, few, gpu, assumed)


def _prompt_flops(shape: ModelShape, work: Sampling) -> float:
    """FLOPs of prompts: once for all responses to one, or for each turn of each episode."""
    if not work.turns:
        return work.num_prompts * forward_flops(shape, work.prompt_tokens, 0)
    # The mean of a prompt that grows by one turn at a time, and of its square.
    before = work.response_tokens * (1 - 1 / work.turns)
    lengths = (work.prompt_tokens + before * part for part in (0.0, 0.5, 1.0))
    first, middle, last = (forward_flops(shape, length, 0) for length in lengths)
    # Simpson's rule: exact for a polynomial of degree two.
    return work.num_responses * work.turns * (first + 4 * middle + last) / 6


def _step(
    shape: ModelShape,
    dtype_bytes: int,
    work: Sampling,
    together: float,
    gpu: Gpu,
    assumed: Assumptions,
) -> float:
    """Seconds of one token of all responses that run together."""
    bandwidth = work.num_gpus * gpu.gb_per_s * 1e9 * assumed.bandwidth_share
    flops = 2.0 * _read_weights(shape) * together
    computing = flops / (work.num_gpus * gpu.tflops * 1e12)
    # Few responses are bound by memory, many by arithmetic.
    reading = step_bytes(shape, dtype_bytes, work, together) / bandwidth
    return max(reading, computing) + assumed.step_ms / 1000


def step_bytes(shape: ModelShape, dtype_bytes: int, work: Sampling, together: float) -> float:
    """Bytes that a step reads: the weights, and the cache of all responses that run together."""
    # Half the response: the mean length of the cache over its steps.
    context = work.prompt_tokens + work.response_tokens / 2
    cache = together * context * shape.cache_numbers_a_token
    return dtype_bytes * (_read_weights(shape) + cache)


def _read_weights(shape: ModelShape) -> int:
    # Looking tokens up reads a few rows of the table; a tied one is read whole as output layer.
    return shape.num_parameters - (0 if shape.tied else shape.vocabulary_parameters)
