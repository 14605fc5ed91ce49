"""A Python process that answers questions, one line each, and is killed when late.

No signal interrupts C code in the middle of big-number arithmetic; a kill does. What the process
prints is not mixed with its answers, since those that start one say where it prints.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psutil

_PR_SET_PDEATHSIG = 1


class HelperDied(RuntimeError):
    """The process has ended instead of answering."""


class HelperProcess:
    """One process, and the pipes to it."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        quiet: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Start `python -m module`. quiet: what it writes on standard error is thrown away.

        variables: of its environment, beside this process's.
        """
        self.owner = os.getpid()
        # sys.path: the child finds this package where this process did, installed or not.
        environment = {"OMP_NUM_THREADS": "1"} | os.environ | {"PYTHONPATH": ":".join(sys.path)}
        environment |= variables or {}
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Never a pipe: one that nobody reads would fill up and block it.
            stderr=subprocess.DEVNULL if quiet else None,
            # poll() sees the pipe alone, not what a buffer of Python's would hold.
            bufsize=0,
            env=environment,
            # A group of its own, which ends with it: what it starts must not outlive it.
            start_new_session=True,
        )

    def send(self, line: str, seconds: float = math.inf) -> None:
        """Ask; the text holds no line break. Raises HelperDied, also where it does not read."""
        assert self.process.stdin is not None
        unsent = memoryview((line + "\n").encode())
        deadline = time.monotonic() + seconds
        events = select.poll()
        events.register(self.process.stdin, select.POLLOUT)
        try:
            while unsent:
                if not events.poll(1000 * min(max(deadline - time.monotonic(), 0), 1.0)):
                    if time.monotonic() >= deadline:
                        raise HelperDied("has stopped reading")
                    continue
                # As much as a pipe with any room takes without blocking.
                unsent = unsent[self.process.stdin.write(unsent[: select.PIPE_BUF]) :]
        except BrokenPipeError:
            raise HelperDied(self.last_words()) from None

    def line(self, seconds: float, watch: Callable[[], None] | None = None) -> str | None:
        """The next line that it answers; None when the time has passed. Raises HelperDied.

        watch: called five times a second meanwhile; what it raises ends the waiting.
        """
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        received = b""
        # Not select(), which refuses descriptors from 1024 on.
        events = select.poll()
        events.register(self.process.stdout, select.POLLIN)
        while not received.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            if not events.poll(1000 * (min(left, 0.2) if watch else left)):
                if watch:
                    watch()
                continue
            piece = os.read(self.process.stdout.fileno(), 1 << 16)
            if not piece:
                raise HelperDied(self.last_words())
            received += piece
        return received.decode().strip()

    def last_words(self) -> str:
        """How it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        code = self.process.returncode
        if code is not None and code < 0:
            return f"was ended by signal {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def kill(self) -> None:
        """End it and what it has started; only by the process that started it."""
        # A fork inherits the exit function that does this, and would end its parent's process.
        if self.owner != os.getpid():
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        # Reaped at once: else every timeout would leave a zombie.
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


def own_pipes() -> tuple[Any, Any]:
    """A helper's standard input and output as files of its own; code that it calls has neither."""
    questions = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return questions, answers


def limit_memory(memory_mb: int) -> None:
    """Bound this process's data. Its children have a bound of their own each."""
    # Not RLIMIT_AS, which counts what libraries merely reserve (numpy, torch: gigabytes).
    with contextlib.suppress(ValueError, OSError):  # a lower limit is in force already
        resource.setrlimit(resource.RLIMIT_DATA, (memory_mb << 20, memory_mb << 20))


def tree_of(pid: int) -> list[psutil.Process]:
    """A process and all that descend from it; empty where it has ended."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def memory_of(processes: Sequence[psutil.Process]) -> int:
    """Bytes of memory that processes hold; those that have ended hold none."""
    used = 0
    for one in processes:
        with contextlib.suppress(psutil.Error):
            used += one.memory_info().rss
    return used


def die_with_parent() -> None:
    """On Linux, end when the process that asks is killed: it then runs no exit function."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
