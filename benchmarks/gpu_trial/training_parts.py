"""Parts that train or score: updates, memory, offload and reload, an optimizer on the host."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
from torch import Tensor

from benchmarks.gpu_trial.measuring import (
    allocated,
    bytes_beside_tensors,
    peak_bytes,
    seconds_of,
)
from benchmarks.gpu_trial.trial import Trial, built_model, planned_bytes
from prime_core.masked import masked_sum
from prime_core.models.load import device, load_model, load_tokenizer
from prime_core.planning.hardware import GIB
from prime_core.planning.seconds import forward_flops
from prime_core.planning.shapes import ModelShape
from prime_core.settings.optimizer import Optimizer
from prime_core.settings.run import Settings
from prime_core.settings.training import Training
from prime_core.training import distributed
from prime_core.training.batch_advantages import BatchAdvantages, batch_advantages
from prime_core.training.batches import Sequences
from prime_core.training.engine import Trainer
from prime_core.training.learning_batch import LearningBatch, batch_of
from prime_core.training.logprob_model import give_logprobs
from prime_core.training.packing import pack
from prime_core.training.passes import passes_of
from prime_core.training.policy_update import PolicyUpdate
from prime_core.training.prm_update import PrmUpdate
from prime_core.training.reference_kl import ReferenceKl
from prime_core.training.scoring import ragged_logprobs, response_logprobs

Figures = dict[str, Any]


def start(_trial: Trial) -> Figures:
    """Seconds from nothing to ranks that have found each other, and their memory."""
    distributed.start_ranks()
    process = psutil.Process()
    seconds = time.time() - process.create_time()
    own = process.memory_info()
    # Files that are mapped, the libraries among them, are no memory of the rank's own.
    bytes_ = max(distributed.gather(own.rss - getattr(own, "shared", 0)))
    return {"start_s": max(distributed.gather(seconds)), "host_gib": bytes_ / GIB}


def policy(trial: Trial, zero_stage: int, offload_optimizer: str = "none") -> Figures:
    """The policy's update: old log-probabilities, then steps; the first one warms up."""
    settings = trial.settings(zero_stage, offload_optimizer)
    update = policy_update(trial, settings)
    update.figures["old_logprobs"] = update.old_logprobs()  # warms up
    old = seconds_of(update.old_logprobs)
    steps = step_seconds(trial, update)
    figures = step_figures(trial, steps) | {"old_logprobs_s": old}
    figures["old_logprobs_mfu"] = forward_mfu(trial, len(trial.sequences), old)
    if offload_optimizer == "none":
        figures |= memory_figures(trial, zero_stage, entropy=True)
    return figures


def prm(trial: Trial, zero_stage: int) -> Figures:
    """The PRM's update on cross-entropy; the first step warms up."""
    settings, batch = trial.settings(zero_stage), batch_with_outcomes(trial)
    reference = torch.full(batch.mask.shape, -math.log(trial.shape.vocab_size)) * batch.mask
    update = PrmUpdate(settings, trial.files, 1, batch, reference, None)
    steps = step_seconds(trial, update)
    return step_figures(trial, steps) | memory_figures(trial, zero_stage, entropy=False)


def offload_reload(trial: Trial) -> Figures:
    """DeepSpeed's states to the host and back; the next step shows that nothing is missing."""
    update = policy_update(trial, trial.settings(2))
    update.figures["old_logprobs"] = update.old_logprobs()
    rows = rows_of_steps(trial)
    update.step(rows[0])
    engine = update.trainer.engine
    before, full = checksum(engine), allocated()
    pinned = torch.cuda.is_available()
    first = away = seconds_of(lambda: engine.offload_states(pin_memory=pinned))
    emptied = allocated()
    back = seconds_of(engine.reload_states)
    same = checksum(engine) == before
    if pinned:  # again: the first time also allocates the host's memory
        away = seconds_of(lambda: engine.offload_states(pin_memory=True))
        back = min(back, seconds_of(engine.reload_states))
    update.step(rows[1])
    freed = None if full is None or emptied is None else full - emptied
    if not same:
        raise RuntimeError("weights are not the same after offload and reload")
    return {
        "first_offload_s": first,
        "offload_s": away,
        "reload_s": back,
        "freed_gib": None if freed is None else freed / GIB,
        "left_gib": None if emptied is None else emptied / GIB,
        "gb_per_s": None if freed is None else freed / 1e9 / away,
        "same": same,
    }


def score(trial: Trial) -> Figures:
    """Log-probabilities of the batch under one frozen model, shared among the ranks."""
    settings = trial.settings(0 if trial.dtype == "float32" else 1)
    distributed.start_ranks()
    models: list[Any] = []
    load = seconds_of(lambda: models.append(load_model(trial.files.prm(0), trial.dtype)))
    model = models[0]
    packs = give_logprobs(model)
    tokenizer = load_tokenizer(trial.files.prm(0))
    passes = passes_of(settings.training, settings.prm.micro_batch_size, tokenizer, packs)
    ragged_logprobs(model, trial.sequences, passes)  # warms up
    seconds = seconds_of(lambda: ragged_logprobs(model, trial.sequences, passes))
    mfu = forward_mfu(trial, len(trial.sequences), seconds)
    return {"load_s": load, "seconds": seconds, "forward_mfu": mfu}


def bf16_gradient(trial: Trial) -> Figures:
    """Error of a bfloat16 gradient beside float32's, of one layer as wide as the model's.

    Both models have the same weights, rounded to bfloat16: the error is the arithmetic's alone.
    """
    shape = trial.shape
    narrow = ModelShape(
        **vars(shape) | {"num_layers": 1, "vocab_size": min(shape.vocab_size, 4096)}
    )
    exact = built_model(narrow, "bfloat16").float()
    rounded = built_model(narrow, "bfloat16")
    gradients = [gradient_of(model, trial, narrow) for model in (exact, rounded)]
    whole = torch.cat([one.flatten() for one in gradients[0].values()])
    error = torch.cat([(gradients[1][name] - one).flatten() for name, one in gradients[0].items()])
    worst = {
        name: float((gradients[1][name] - one).norm() / one.norm())
        for name, one in gradients[0].items()
        if float(one.norm()) > 1e-6 * float(whole.norm())
    }
    name = max(worst, key=lambda key: worst[key])
    return {
        "relative_error": float(error.norm() / whole.norm()),
        "worst_tensor": name,
        "worst_relative_error": worst[name],
    }


def gradient_of(model: Any, trial: Trial, shape: ModelShape) -> dict[str, Tensor]:
    """Gradient of a mean log-probability, responses weighted +1 and -1, in float32."""
    assert give_logprobs(model)
    rows = trial.random_rows(trial.rows_of_a_pass)
    bounded = Sequences(
        [[token % shape.vocab_size for token in row] for row in rows.prompts],
        [[token % shape.vocab_size for token in row] for row in rows.responses],
    )
    batch = pack(bounded, device())
    logprobs = response_logprobs(model, batch)
    signs = torch.tensor([1.0, -0.5], device=device()).repeat(len(rows))[: len(rows)]
    loss = masked_sum(logprobs * signs[:, None], batch.mask) / batch.mask.sum()
    loss.backward()
    return {
        name: weight.grad.float()
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }


def batch_with_outcomes(trial: Trial) -> LearningBatch:
    """The trial's sequences in groups of two, one correct and one not."""
    sequences = trial.sequences
    uniform = -math.log(trial.shape.vocab_size)
    prompts, responses = (
        [np.array(row) for row in rows] for rows in (sequences.prompts, sequences.responses)
    )
    number = len(sequences)
    return batch_of(
        pd.DataFrame(
            {
                "prompt_id": [f"p{row // 2}" for row in range(number)],
                "prompt_tokens": prompts,
                "response_tokens": responses,
                "sampler_logprobs": [[uniform] * len(row) for row in sequences.responses],
                "outcome": [float(row % 2) for row in range(number)],
            }
        )
    )


def policy_update(trial: Trial, settings: Settings) -> PolicyUpdate:
    """The stage's own update, from the trial's model."""
    batch = batch_with_outcomes(trial)
    rewards = torch.zeros(batch.mask.shape)

    def advantages(penalty: Tensor | None) -> BatchAdvantages:
        return batch_advantages(settings, batch, rewards, None, penalty)

    reference = ReferenceKl(settings.policy, settings.policy.kl_coef, None)
    return PolicyUpdate(settings, trial.files, 1, batch, advantages, reference, None)


def rows_of_steps(trial: Trial) -> list[list[int]]:
    """Rows of each step."""
    size = trial.num_ranks * trial.rows_of_a_pass
    return [list(range(size * step, size * (step + 1))) for step in range(trial.work.num_steps)]


def step_seconds(trial: Trial, update: PolicyUpdate | PrmUpdate) -> list[float]:
    """Seconds of the slowest rank, step by step."""
    return [seconds_of(partial(update.step, rows)) for rows in rows_of_steps(trial)]


def step_figures(trial: Trial, steps: list[float]) -> Figures:
    """Seconds and FLOP/s of the steps after the first; FLOPs as the plan counts them."""
    seconds = sum(steps[1:]) / len(steps[1:])
    rows = trial.num_ranks * trial.rows_of_a_pass
    one = forward_flops(trial.shape, trial.work.prompt_tokens, trial.work.response_tokens)
    flops = 4 * rows * one  # forward, recomputed, and a backward pass counts as two
    return {
        "first_step_s": steps[0],
        "step_s": seconds,
        "flops": flops,
        "mfu": flops / seconds / (trial.num_ranks * trial.figures.tflops * 1e12),
        "tokens_per_s": rows * (trial.work.prompt_tokens + trial.work.response_tokens) / seconds,
    }


def forward_mfu(trial: Trial, num_rows: int, seconds: float) -> float:
    """Share of all ranks' FLOP/s in a forward pass over rows."""
    one = forward_flops(trial.shape, trial.work.prompt_tokens, trial.work.response_tokens)
    return num_rows * one / seconds / (trial.num_ranks * trial.figures.tflops * 1e12)


def memory_figures(trial: Trial, zero_stage: int, *, entropy: bool) -> Figures:
    """Peak of tensors on a GPU beside the plan's; nothing without GPUs."""
    peak, beside = peak_bytes(), bytes_beside_tensors()
    if peak is None or beside is None:
        return {}
    planned = planned_bytes(
        trial.shape, trial.dtype, zero_stage, trial.num_ranks, trial.work, entropy=entropy
    )
    return {
        "peak_gib": peak / GIB,
        "planned_gib": planned / GIB,
        "peak_over_planned": peak / planned,
        "reserve_share": beside / GIB / trial.memory_gib,
    }


def checksum(engine: Any) -> list[int]:
    """Sums of the bits of all weights, also of the float32 copy that ZeRO keeps."""
    copies = getattr(engine.optimizer, "single_partition_of_fp32_groups", [])
    tensors = [*engine.module.parameters(), *copies]
    kinds = {2: torch.int16, 4: torch.int32}
    return [
        int(one.detach().view(kinds[one.element_size()]).sum(dtype=torch.int64)) for one in tensors
    ]


def built_trainer(model: Any, zero_stage: int) -> Trainer:
    """A trainer of a model in memory, for what concerns files alone."""
    return Trainer(
        model, Optimizer(learning_rate=1e-6), lambda _step: 1.0, Training(zero_stage=zero_stage)
    )
