"""Seconds and memory of what runs on the device, over all ranks."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import torch

from prime_core.training.distributed import barrier, gather


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds of the slowest rank."""
    wait_for_device()
    barrier()
    begun = time.perf_counter()
    work()
    wait_for_device()
    return max(gather(time.perf_counter() - begun))


def wait_for_device() -> None:
    """Wait until the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def allocated() -> int | None:
    """Bytes of tensors on the GPU; None without one."""
    if not torch.cuda.is_available():
        return None
    gc.collect()
    return torch.cuda.memory_allocated()


def peak_bytes() -> int | None:
    """Most bytes of tensors that a rank's GPU has held; None without one."""
    if not torch.cuda.is_available():
        return None
    return max(gather(torch.cuda.max_memory_allocated()))


def bytes_beside_tensors() -> int | None:
    """Bytes of the GPU that are taken and were never a tensor's: context, NCCL, fragmentation."""
    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return max(gather(total - free - torch.cuda.max_memory_allocated()))
