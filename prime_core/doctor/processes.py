"""Trying something in processes of their own, which may crash or hang without harm.

In: commands, all started together, each a rank or the only one. Out: the JSON objects, one a line,
that the first printed before time was up, and what went wrong.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_AFTER_A_FAILURE = 3.0  # seconds that other ranks have to fail, too, and say why
_running: set[subprocess.Popen[str]] = set()


@dataclass(frozen=True)
class Answer:
    """lines: objects that were printed. problem: what went wrong in one sentence, "" if nothing."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""


def own_module(module: str, *words: str) -> list[str]:
    """The command that runs a module of this package with this Python."""
    return [sys.executable, "-m", f"prime_core.doctor.{module}", *words]


def ask(
    command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None
) -> Answer:
    """Run one command for at most so many seconds."""
    return ask_together(command, [environment or {}], seconds)


def ask_together(
    command: Sequence[str], environments: Sequence[Mapping[str, str]], seconds: float
) -> Answer:
    """Run a command once with each of the environments, which are added to this process's own."""
    children = [_Child(command, environment) for environment in environments]
    until = time.monotonic() + seconds
    try:
        while any(child.is_running for child in children) and time.monotonic() < until:
            if any(child.failed for child in children):
                until = min(until, time.monotonic() + _AFTER_A_FAILURE)
                if not any(child.is_running for child in children):
                    break
                children[0].wait(0.5)
            children[0].wait(0.05) if children[0].is_running else time.sleep(0.05)
        failures = [child.problem for child in children if child.failed]
        if not failures and any(child.is_running for child in children):
            failures = [f"no answer within {seconds:.0f} s"]
    finally:
        for child in children:
            child.end()
    return Answer(children[0].lines, failures[0] if failures else "")


class _Child:
    """A process whose output is read as it comes."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **environment},
            start_new_session=True,  # so that its own children can be ended with it
        )
        _running.add(self._process)
        self.lines: list[dict[str, Any]] = []
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=read, daemon=True) for read in (self._read, self._read_errors)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with contextlib.suppress(ValueError):  # a library's own chatter
                value = json.loads(line)
                self.lines += [value] if isinstance(value, dict) else []

    def _read_errors(self) -> None:
        for line in self._process.stderr or ():
            self._errors = [*self._errors[-200:], line.strip()] if line.strip() else self._errors

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def failed(self) -> bool:
        return bool(self._process.poll())

    @property
    def problem(self) -> str:
        """Why it ended, in one line."""
        for reader in self._readers:
            reader.join(1.0)
        status = self._process.returncode
        if status < 0:
            name = signal.Signals(-status).name
            about = {"SIGILL": ": built for another processor", "SIGKILL": ": out of memory?"}
            return f"ended by {name}{about.get(name, '')}"
        # The last line of a traceback says what; warnings may follow it.
        kinds = [line for line in self._errors if _is_error(line)]
        said = (kinds or self._errors or [f"exit status {status}"])[-1]
        return said.removeprefix("[rank0]: ")[:300]

    def wait(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def end(self) -> None:
        """End it and its children, and read what it still said."""
        _end(self._process)
        for reader in self._readers:
            reader.join(1.0)


def _is_error(line: str) -> bool:
    kind = line.partition(":")[0]
    return kind.rpartition(".")[2].endswith(("Error", "Exception", "Unavailable"))


def _end(process: subprocess.Popen[str]) -> None:
    # Also after its own end: its children may live on. The group is its own, so nobody else's.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5.0)
    _running.discard(process)


@atexit.register
def _end_all() -> None:
    """At the end, Ctrl-C included: nothing that was tried outlives this process."""
    for process in list(_running):
        _end(process)
