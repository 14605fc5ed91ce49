"""What jobs do, in small: load a model, generate, reduce over all GPUs, take an optimizer step.

    python -m prime_core.doctor.job sample FOLDER SAMPLER    load and generate
    python -m prime_core.doctor.job train FOLDER             one rank of a training stage

On GPUs where torch sees some, else on the CPU, by the same calls as a stage. Prints one JSON object
for each thing that worked; the first that does not is an exception.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import torch
import torch.distributed as dist
from torch import Tensor

from prime_core.masked import masked_sum
from prime_core.models.build import build_model, build_tokenizer
from prime_core.models.load import device, load_model, load_tokenizer, save_model
from prime_core.runtime.rank import is_first_rank
from prime_core.samplers import Engine, FinishedResponses, Request, SamplingParams, load_sampler
from prime_core.samplers.choice import choose_sampler
from prime_core.settings.optimizer import Optimizer
from prime_core.settings.training import Training
from prime_core.training import distributed
from prime_core.training.batches import Sequences
from prime_core.training.engine import Trainer
from prime_core.training.passes import passes_of
from prime_core.training.scoring import response_logprobs

NUM_RESPONSES, NUM_NEW_TOKENS = 8, 32
REDUCED_BYTES = {"cuda": 1 << 28, "cpu": 1 << 22}
REPETITIONS = 3
FIRST_BYTE = 6  # tokens of the built tokenizer before these are special
# Heads of width 64, which every build of vLLM knows.
SIZES = {"num_layers": 2, "hidden_size": 256, "num_heads": 4, "intermediate_size": 512}

Tell = Callable[..., None]


def save_small_model(folder: Path) -> None:
    """The model that is loaded: 1.4 M parameters with random weights."""
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, **SIZES, max_position=512, initializer_range=0.05, seed=0)
    folder.mkdir()
    save_model(model, tokenizer, folder)


def sample(folder: Path, tell: Tell, sampler: str) -> None:
    """Load the model and ask it for log-probabilities; then sample as rollouts are sampled."""
    began = time.monotonic()
    save_small_model(folder)
    model, dtype = load_model(folder, dtype_here()), dtype_here()
    tokens = torch.arange(FIRST_BYTE, FIRST_BYTE + 64, device=device())[None]
    with torch.no_grad():
        found = model(input_ids=tokens).logits
    if not torch.isfinite(found).all():
        raise RuntimeError("the model's logits are not finite numbers")
    tell("load", device=device_name(), dtype=dtype, seconds=time.monotonic() - began)
    del model
    began, name = time.monotonic(), choose_sampler(sampler, folder)
    requests = [
        Request(list(range(FIRST_BYTE, FIRST_BYTE + 8 + number)), number)
        for number in range(NUM_RESPONSES)
    ]
    # Without CUDA graphs, whose capture takes a minute; half of the memory, since others may share
    # an interactive GPU.
    engine = Engine(NUM_RESPONSES, 64, gpu_memory_utilization=0.5, enforce_eager=True)
    params = SamplingParams(1.0, 1.0, 0, NUM_NEW_TOKENS)
    nothing = FinishedResponses(None, "")
    how = (folder, dtype, requests, params, engine)
    responses = load_sampler(name)(*how, lambda _number: None, nothing)
    logprobs = [number for one in responses for number in one.logprobs]
    if not logprobs or not all(map(math.isfinite, logprobs)):
        raise RuntimeError(f"{name} gave no finite log-probabilities")
    seconds = time.monotonic() - began
    tell("generate", sampler=name, responses=len(responses), tokens=len(logprobs), seconds=seconds)


def train(folder: Path, tell: Tell) -> None:
    """Reduce a tensor over all ranks, then take one optimizer step with DeepSpeed."""
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
    distributed.start_ranks()
    world = distributed.world_size()
    seconds, size = reduce_over_all_ranks()
    backend = dist.get_backend()
    rate = 2 * (world - 1) / world * size / seconds / 1e9
    tell("all-reduce", backend=backend, ranks=world, bytes=size, seconds=seconds, gb_per_s=rate)
    began = time.monotonic()
    norm, stage = optimizer_step(folder)
    seconds = time.monotonic() - began
    tell("optimizer step", norm=norm, zero_stage=stage, dtype=dtype_here(), seconds=seconds)


def reduce_over_all_ranks() -> tuple[float, int]:
    """Seconds of one all-reduce, and its bytes. Raises RuntimeError where the sum is wrong."""
    world, own = distributed.world_size(), distributed.rank() + 1
    count = REDUCED_BYTES[device().type] // 4
    began = 0.0
    for repetition in range(REPETITIONS + 1):
        values = torch.full((count,), float(own), device=device())
        if repetition == 1:  # the first one connects the ranks
            began = time.monotonic()
        dist.all_reduce(values)
        found = values[[0, -1]].tolist()  # waits for it
        if found != [world * (world + 1) / 2] * 2:
            raise RuntimeError(f"the sum over {world} ranks came out as {found[0]}")
    return (time.monotonic() - began) / REPETITIONS, 4 * count


def optimizer_step(folder: Path) -> tuple[float, int]:
    """Gradient norm and ZeRO stage of one step on two sequences a rank."""
    world = distributed.world_size()
    tokens = list(range(FIRST_BYTE, FIRST_BYTE + 24))
    rows = list(range(2 * world))
    sequences = Sequences([tokens[: 4 + row % 8] for row in rows], [tokens for _ in rows])
    training = Training(zero_stage=2)
    tokenizer, model = load_tokenizer(folder), load_model(folder, dtype_here())
    trainer = Trainer(model, Optimizer(learning_rate=1e-3), lambda _step: 1.0, training)
    passes = passes_of(training, 1, tokenizer, trainer.packs)

    def loss_of(one_pass: list[int]) -> Tensor:
        batch = passes.batch(sequences.take(one_pass))
        logprobs = response_logprobs(trainer.engine, batch)
        return -masked_sum(logprobs, batch.mask) / (len(tokens) * len(rows))

    norm = trainer.step(passes.of_rank(rows, sequences), loss_of)
    if not (math.isfinite(norm) and norm > 0):
        raise RuntimeError(f"the gradient's norm is {norm}")
    return norm, training.zero_stage


def dtype_here() -> str:
    """bfloat16 where the device computes in it."""
    on_gpu = torch.cuda.is_available()
    return "bfloat16" if on_gpu and torch.cuda.get_device_capability() >= (8, 0) else "float32"


def device_name() -> str:
    """The GPU's name, or the CPU."""
    return torch.cuda.get_device_name(device()) if torch.cuda.is_available() else "the CPU"


def main(what: str, folder: Path, *words: str) -> None:
    """Do it, and print what worked as it does."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # engines print to standard output
    steps: dict[str, Callable[..., None]] = {"sample": sample, "train": train}
    steps[what](folder, teller(answers), *words)


def teller(stream: TextIO) -> Tell:
    """Prints a thing that worked, once for all ranks."""

    def tell(name: str, **facts: Any) -> None:
        if is_first_rank():
            stream.write(json.dumps({"name": name} | facts) + "\n")

    return tell


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
    sys.stderr.flush()
    # Not sys.exit: engines and process groups may hang at exit, and nothing here needs theirs.
    os._exit(0)
