"""Moving a DeepSpeed engine's numbers off its GPU between two updates, and back.

Numbers do not change. DeepSpeed moves weights, their float32 copies and gradients; at stage 3 it
would move the rest for its own optimizers alone, and stage 0 is none of its business, so torch's
AdamW and those are moved here. What is on the host anyway (training.offload_optimizer) stays there.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from prime_core.models.load import device

HOST = torch.device("cpu")


def offload(engine: Any, zero_stage: int, optimizer_on_host: bool) -> None:
    """Leave the device to others, until `reload`."""
    engine.optimizer.zero_grad()
    if zero_stage:
        engine.offload_states(
            include=_deepspeeds(zero_stage, optimizer_on_host),
            pin_memory=torch.cuda.is_available(),
        )
    _move(engine, zero_stage, optimizer_on_host, HOST)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def reload(engine: Any, zero_stage: int, optimizer_on_host: bool) -> None:
    """Undo `offload`."""
    if zero_stage:
        engine.reload_states()
    _move(engine, zero_stage, optimizer_on_host, device())


def _deepspeeds(zero_stage: int, optimizer_on_host: bool) -> set[Any]:
    """What DeepSpeed itself moves."""
    from deepspeed.runtime.zero.offload_config import OffloadStateTypeEnum as States

    if zero_stage < 3:
        return {States.lp_params, States.lp_grads} | (
            set() if optimizer_on_host else {States.hp_params}
        )
    gradients = set() if optimizer_on_host else {States.lp_grads}
    return {States.lp_params, States.contiguous_grad_buffer} | gradients


def _move(engine: Any, zero_stage: int, optimizer_on_host: bool, to: torch.device) -> None:
    if zero_stage == 0:
        engine.module.to(to)
    if optimizer_on_host:
        return
    if zero_stage == 3:
        for weights in engine.optimizer.fp32_partitioned_groups_flat:
            weights.data = weights.data.to(to)
    # ZeRO's optimizers stand around torch's.
    adamw = engine.optimizer.optimizer if zero_stage else engine.optimizer
    for moments, name, tensor in _moments(adamw):
        moments[name] = tensor.to(to)


def _moments(adamw: torch.optim.Optimizer) -> Iterator[tuple[dict[str, Any], str, Tensor]]:
    for state in adamw.state.values():
        for name, value in state.items():
            # torch keeps the number of steps on the host, and reads it at each.
            if isinstance(value, Tensor) and name != "step":
                yield state, name, value
