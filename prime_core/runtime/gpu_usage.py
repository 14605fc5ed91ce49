"""Use of the GPUs that a process sees, looked at once a second by NVML (nvidia-ml-py).

Other processes of the same job may use them, too (ranks, vLLM's workers): the figures are the
GPUs', not the process's. Without NVIDIA's driver or nvidia-ml-py there are none.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from typing import Any

_SECONDS_BETWEEN = 1.0


class GpuWatch:
    """Looks at the GPUs from its start on, in a thread."""

    def __init__(self) -> None:
        """Raises ImportError without nvidia-ml-py, NVML's error without a driver, LookupError
        without a GPU.
        """
        import pynvml

        self._nvml: Any = pynvml
        pynvml.nvmlInit()
        self._gpus = [self._handle(name) for name in self._visible()]
        if not self._gpus:
            raise LookupError("no GPU is visible")
        self._num_looks = 0
        self._busy = 0.0  # sum over looks of the mean share over GPUs
        self._most_bytes = 0
        threading.Thread(target=self._run, daemon=True, name="gpu-watch").start()

    def names(self) -> dict[str, str]:
        """What the GPUs are, and the driver with the newest CUDA that it runs."""
        kinds = Counter(_text(self._nvml.nvmlDeviceGetName(gpu)) for gpu in self._gpus)
        cuda = self._nvml.nvmlSystemGetCudaDriverVersion()
        return {
            "process/gpus": ", ".join(f"{count} x {kind}" for kind, count in kinds.items()),
            "process/gpu_driver": _text(self._nvml.nvmlSystemGetDriverVersion()),
            "process/cuda_of_driver": f"{cuda // 1000}.{cuda % 1000 // 10}",
        }

    def figures(self) -> dict[str, float]:
        """Mean share of the time in which a kernel ran; most memory in use on one GPU, in MB."""
        self._look()  # a stage shorter than the first look has one
        return {
            "process/num_gpus": len(self._gpus),
            "process/gpu_utilization_mean": self._busy / self._num_looks,
            "process/max_gpu_memory_mb": self._most_bytes / 1e6,
        }

    def _visible(self) -> list[str]:
        """As CUDA counts them: numbers or UUIDs of CUDA_VISIBLE_DEVICES, else all."""
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        if named is None:
            return [str(number) for number in range(self._nvml.nvmlDeviceGetCount())]
        return [name.strip() for name in named.split(",") if name.strip()]

    def _handle(self, name: str) -> Any:
        if name.isdigit():
            return self._nvml.nvmlDeviceGetHandleByIndex(int(name))
        return self._nvml.nvmlDeviceGetHandleByUUID(name)

    def _run(self) -> None:
        while True:
            time.sleep(_SECONDS_BETWEEN)
            with contextlib.suppress(self._nvml.NVMLError):  # a GPU that has fallen off the bus
                self._look()

    def _look(self) -> None:
        rates = [self._nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100 for gpu in self._gpus]
        used = [self._nvml.nvmlDeviceGetMemoryInfo(gpu).used for gpu in self._gpus]
        self._busy += sum(rates) / len(rates)
        self._most_bytes = max(self._most_bytes, *used)
        self._num_looks += 1


def _text(value: str | bytes) -> str:
    """Older releases of nvidia-ml-py return bytes."""
    return value.decode() if isinstance(value, bytes) else value


_watch: GpuWatch | None = None


def watch_gpus() -> None:
    """Begin to look, where there is something to look at."""
    global _watch
    # Any error: MIG devices, a driver of another version, a container without it. Figures of use
    # are no reason for a stage to fail.
    with contextlib.suppress(Exception):
        _watch = GpuWatch()


def gpu_figures() -> dict[str, float | str]:
    """Figures since watch_gpus(), and what the GPUs are; empty where it found none."""
    found: dict[str, float | str] = {}
    if _watch is not None:
        with contextlib.suppress(Exception):
            found |= _watch.figures()
            found |= _watch.names()
    return found
