"""Figures of GPUs: those that are visible, means over looks, none where nothing answers."""

import sys
from types import SimpleNamespace

import pytest

from prime_core.runtime import gpu_usage
from prime_core.runtime.usage import process_usage


class Nvml:
    """Two GPUs, the first idle, the second at work; as much of pynvml as is used."""

    NVMLError = RuntimeError
    busy = {"0": 0, "1": 60, "GPU-b": 60}  # noqa: RUF012

    def nvmlInit(self): ...

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return str(index)

    def nvmlDeviceGetHandleByUUID(self, name):
        return name

    def nvmlDeviceGetUtilizationRates(self, gpu):
        return SimpleNamespace(gpu=self.busy[gpu])

    def nvmlDeviceGetMemoryInfo(self, gpu):
        return SimpleNamespace(used=5e9 if gpu == "0" else 70e9)


@pytest.fixture
def watched(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    monkeypatch.setattr(gpu_usage, "_watch", None)
    return gpu_usage


@pytest.mark.parametrize(
    ("visible", "count", "share", "memory"),
    [(None, 2, 0.3, 70e3), ("1", 1, 0.6, 70e3), ("0", 1, 0.0, 5e3), ("0, GPU-b", 2, 0.3, 70e3)],
)
def test_the_gpus_that_cuda_shows_are_looked_at(
    watched, monkeypatch, visible, count, share, memory
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    watched.watch_gpus()
    figures = process_usage()
    assert figures["process/num_gpus"] == count
    assert figures["process/gpu_utilization_mean"] == pytest.approx(share)
    assert figures["process/max_gpu_memory_mb"] == memory


def test_without_a_gpu_a_driver_or_the_package_there_are_no_such_figures(watched, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    watched.watch_gpus()
    assert watched.gpu_figures() == {}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setitem(sys.modules, "pynvml", None)  # an import of it fails
    watched.watch_gpus()
    assert watched.gpu_figures() == {}
    assert not [name for name in process_usage() if "gpu" in name]
