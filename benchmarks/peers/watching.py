"""A command and everything that it starts: seconds, processor seconds, peak memory."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.5
LEAVING_SECONDS = 30.0  # for processes that outlive the command, a resident one among them


@dataclass(frozen=True)
class Watched:
    """began, wall_s: of the system's clock. peak_mb: memory of all its processes at one time, what
    they share counted once (PSS)."""

    began: float
    wall_s: float
    cpu_s: float
    peak_mb: float


def watch(command: Sequence[str], environment: Mapping[str, str], cwd: Path, log: Path) -> Watched:
    """Run it to its end. Raises SystemExit naming the log where it fails."""
    # Orphans become this process's children, whose processor seconds the system adds up for it.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before, began = processor_seconds(), time.time()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, cwd=cwd, stdout=stream, stderr=stream
        )
        memory = Memory(process.pid)
        memory.start()
        status = process.wait()
        wall = time.time() - began
        memory.stop()
    if status:
        sys.exit(f"{' '.join(command[:6])} ... failed: {log}")
    reap()
    return Watched(began, wall, processor_seconds() - before, memory.peak / 1e6)


def processor_seconds() -> float:
    """User and system seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def reap() -> None:
    """Wait for processes that the command has left behind; their seconds count as well."""
    until = time.monotonic() + LEAVING_SECONDS
    with suppress(ChildProcessError):
        while time.monotonic() < until:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.1)


class Memory(threading.Thread):
    """Peak memory of a process and its descendants, looked at twice a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._ended = pid, threading.Event()
        self.peak = 0.0

    def run(self) -> None:
        """Look until told to stop."""
        while not self._ended.wait(POLL_SECONDS):
            with suppress(psutil.Error):
                root = psutil.Process(self._pid)
                self.peak = max(self.peak, sum(map(pss, [root, *root.children(recursive=True)])))

    def stop(self) -> None:
        """End the watching."""
        self._ended.set()
        self.join()


def pss(process: psutil.Process) -> float:
    """Bytes of a process, its part of what it shares; 0 where it has ended."""
    try:
        return float(process.memory_full_info().pss)
    except psutil.Error:
        return 0.0
