"""Parts on files and processes: saving, loading, the disk, a fork after NVML was asked."""

from __future__ import annotations

import os
import select
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_trial.measuring import seconds_of
from benchmarks.gpu_trial.training_parts import built_trainer
from benchmarks.gpu_trial.trial import SHAPES, TINY, Trial, built_model
from prime_core.models.build import build_tokenizer
from prime_core.models.load import device
from prime_core.run.layout import TRAINING_STATE

Figures = dict[str, Any]
MEMORY = Path("/dev/shm")
CHILD_SECONDS = 60.0
BLOCK = 1 << 24


def files(trial: Trial) -> Figures:
    """A small model with its training state, saved and loaded: on the disk, then in memory."""
    # Of a larger model the state alone would take minutes; bytes a second are the same.
    shape = SHAPES[TINY if trial.size == TINY else "0.5b"]
    trainer = built_trainer(built_model(shape, trial.dtype), 2 if trial.dtype != "float32" else 1)
    figures = saved_and_loaded(trainer, Path(trial.folder))
    whole = figures["gb"] * 1e9
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 1.5 * whole:
        with tempfile.TemporaryDirectory(dir=MEMORY) as place:
            memory = saved_and_loaded(trainer, Path(place))
        figures |= {f"memory_{name}": value for name, value in memory.items()}
    return figures


def saved_and_loaded(trainer: Any, place: Path) -> Figures:
    """Seconds and GB/s of Trainer.save and of load_state, of what each handles."""
    folder = place / "saved"
    save = seconds_of(lambda: trainer.save(folder, build_tokenizer()))
    whole, state = bytes_in(folder), bytes_in(folder / TRAINING_STATE)
    for file in (file for file in folder.rglob("*") if file.is_file()):
        forget(file)
    load = seconds_of(lambda: trainer.load_state(folder))
    shutil.rmtree(folder)
    return {
        "gb": whole / 1e9,
        "save_s": save,
        "load_s": load,
        "gb_per_s": (whole + state) / 1e9 / (save + load),
    }


def bytes_in(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def forget(file: Path) -> None:
    """Let the system forget what it keeps of a file in memory, so that the disk is read."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def disk(trial: Trial) -> Figures:
    """Bytes a second of one file on the disk of runs, written through and read again."""
    free = shutil.disk_usage(trial.folder).free
    size = min(trial.work.disk_bytes, free // 4) // BLOCK * BLOCK
    path, block = Path(trial.folder) / "bytes", os.urandom(BLOCK)
    begun = time.perf_counter()
    with path.open("wb") as stream:
        for _ in range(size // BLOCK):
            stream.write(block)
        stream.flush()
        os.fsync(stream.fileno())
    write = time.perf_counter() - begun
    forget(path)
    begun = time.perf_counter()
    with path.open("rb", buffering=0) as stream:
        while stream.read(BLOCK):
            pass
    read = time.perf_counter() - begun
    path.unlink()
    return {
        "gb": size / 1e9,
        "write_gb_per_s": size / 1e9 / write,
        "read_gb_per_s": size / 1e9 / read,
    }


def fork_after_nvml(_trial: Trial) -> Figures:
    """Children of a process that has asked NVML for GPUs use the GPU, one after the other."""
    begun = time.perf_counter()
    found = torch.cuda.is_available()
    if torch.cuda.is_initialized():
        raise RuntimeError("CUDA was initialised before the fork, although NVML was to be asked")
    seconds = [child_seconds() for _ in range(2)]
    if torch.cuda.is_initialized():
        raise RuntimeError("CUDA is initialised in the parent after its children have ended")
    return {
        "asked_nvml": os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK") == "1",
        "sees_gpu": found,
        "first_child_s": seconds[0],
        "second_child_s": seconds[1],
        "seconds": time.perf_counter() - begun,
    }


def child_seconds() -> float:
    """Seconds of a forked child that multiplies matrices on the device. Raises RuntimeError."""
    begun, (answers, writes) = time.perf_counter(), os.pipe()
    pid = os.fork()
    if pid == 0:
        # Whatever happens, the child must not run on in its parent's code.
        try:
            ones = torch.ones(64, 64, device=device())
            os.write(writes, str(float((ones @ ones).sum())).encode())
        except BaseException as error:
            os.write(writes, f"{type(error).__name__}: {error}".encode()[:2000])
        finally:
            os._exit(0)
    os.close(writes)
    ready, _, _ = select.select([answers], [], [], CHILD_SECONDS)
    answer = os.read(answers, 4000).decode() if ready else ""
    os.close(answers)
    if not ready:
        os.kill(pid, 9)
    os.waitpid(pid, 0)
    if not ready:
        raise RuntimeError(f"the child gave no answer within {CHILD_SECONDS:.0f} s")
    if answer != str(64.0**3):
        raise RuntimeError(f"the child could not use the GPU: {answer or 'it ended'}")
    return time.perf_counter() - begun
