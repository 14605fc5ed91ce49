"""Folders that a run writes to: results, temporary files, shared memory, the hub's cache."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from prime_core.doctor.finding import Finding
from prime_core.doctor.software import offline_variables
from prime_core.runtime.text import bytes_text

LITTLE_DISK = 1e9  # bytes; the quickstart needs a tenth of it
# Of docker's default, 64 MB, NCCL's ranks of one node soon have no more.
LITTLE_SHARED_MEMORY = 1e9
SHARED_MEMORY = Path("/dev/shm")
DEVICES = Path("/dev")


def results_finding(results: Path) -> Finding:
    """Whether the folder of all runs, or the nearest that exists, can be written to."""
    problem = why_not_writable(existing(results))
    where = results if results.is_absolute() else Path.cwd() / results
    if problem:
        todo = "change to a folder of your own, or set `results`"
        return Finding("results", "wrong", f"{where} cannot be written: {problem}", todo)
    return Finding("results", "ok", f"{where} can be written")


def disk_finding(results: Path) -> Finding:
    """Room for results; what a quota leaves may be less."""
    place = existing(results)
    free = shutil.disk_usage(place).free
    status = os.statvfs(place)
    detail = f"{bytes_text(free)} free for results"
    if status.f_files and not status.f_favail:
        return Finding("disk", "wrong", f"{place}: no more files can be made", "delete some")
    if free < LITTLE_DISK:
        return Finding("disk", "wrong", detail, "free some; prime plan says what a run needs")
    return Finding(
        "disk", "ok", f"{detail} (a quota may leave less); prime plan says what it needs"
    )


def shared_memory_finding(place: Path = SHARED_MEMORY, devices: Path = DEVICES) -> Finding:
    """Shared memory, through which NCCL's ranks of a node pass data."""
    num_gpus = len(list(devices.glob("nvidia[0-9]*")))
    todo = "docker: --shm-size=8g; Apptainer binds /dev by itself"
    if not place.is_dir():
        needed = num_gpus > 1
        return Finding(str(place), "missing", "there is none", todo if needed else "", needed)
    usage = shutil.disk_usage(place)
    detail = f"{bytes_text(usage.free)} free of {bytes_text(usage.total)}"
    if problem := why_not_writable(place):
        return Finding(str(place), "wrong", f"cannot be written: {problem}", todo)
    if num_gpus > 1 and usage.free < LITTLE_SHARED_MEMORY:
        return Finding(str(place), "wrong", f"{detail}: too little for {num_gpus} GPUs", todo)
    return Finding(str(place), "ok", detail)


def temporary_finding() -> Finding:
    """The folder of temporary files."""
    name, todo = "TMPDIR", "export TMPDIR=FOLDER, one that exists on every node"
    asked = os.environ.get("TMPDIR")
    # Python falls back on another folder in silence, other programs fail.
    if asked and (problem := why_not_writable(Path(asked))):
        return Finding(name, "wrong", f"{asked} cannot be used: {problem}", todo)
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError:
        return Finding(name, "wrong", "no folder for temporary files can be written", todo)
    free = shutil.disk_usage(folder).free
    detail = f"{folder}, {bytes_text(free)} free"
    if free < LITTLE_DISK / 10:
        return Finding(name, "wrong", detail, todo)
    return Finding(name, "ok", detail)


def hub_cache_finding() -> Finding:
    """The Hugging Face cache: where, whether more can be fetched into it."""
    from huggingface_hub import constants

    name, cache = "HF cache", Path(constants.HF_HUB_CACHE)
    offline = offline_variables()
    problem = why_not_writable(existing(cache))
    detail = f"{cache}" + ("" if cache.is_dir() else " (not made yet)")
    if offline:
        detail += f"; offline ({', '.join(offline)}): only what prime fetch has put there is found"
        if not cache.is_dir():
            return Finding(name, "wrong", detail, "unset it, or export HF_HOME=FOLDER", True)
        return Finding(name, "ok", detail)
    if problem:
        todo = (
            "export HF_HOME=FOLDER, on a disk that compute nodes see; where all is there already, "
            "HF_HUB_OFFLINE=1"
        )
        return Finding(name, "wrong", f"{detail} cannot be written: {problem}", todo)
    return Finding(
        name, "ok", f"{detail}, {bytes_text(shutil.disk_usage(existing(cache)).free)} free"
    )


def existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    folder = folder.absolute()
    return next(one for one in (folder, *folder.parents) if one.exists())


def why_not_writable(folder: Path) -> str:
    """Why a file cannot be made, written and renamed in a folder; "" where it can."""
    if not folder.is_dir():
        return f"{folder} is not a folder" if folder.exists() else f"{folder} does not exist"
    first = second = None
    try:
        handle, first = tempfile.mkstemp(dir=folder, prefix=".prime-doctor-")
        with os.fdopen(handle, "wb") as file:
            file.write(b"x" * 4096)
            os.fsync(file.fileno())  # a full disk, or quota, may tell only now
        second = f"{first}-renamed"
        Path(first).rename(second)
    except OSError as error:
        return f"{folder}: {error.strerror}"
    finally:
        for path in filter(None, (first, second)):
            Path(path).unlink(missing_ok=True)
    return ""
