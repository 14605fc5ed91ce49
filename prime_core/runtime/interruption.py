"""Being asked to stop: SIGTERM and SIGUSR2, as Slurm sends them before a time-out or pre-emption.

A stage that keeps checkpoints finishes its optimizer step, saves and raises `Interrupted`. Any
other exits at once and takes its temporary files and children with it; but where Slurm only warns
that time is running out (`only_warned`), it continues: it may finish in time, and exiting would
count as a failure. docs/decisions.md#stage-requeues-itself
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Literal

# SIGUSR2 as well: srun forwards it to its ranks, where SIGTERM would make it end them at once.
SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
EXIT_STATUS = 75  # EX_TEMPFAIL: nothing is wrong, the same command resumes later
# Launchers forward signals that their processes have received as well: that is not a second one.
_SECONDS_TO_A_SECOND_SIGNAL = 3.0


class Interrupted(Exception):
    """A stage stopped cleanly before its end; the message says where."""


# What a signal does: the stage continues where it may, else it exits at once; it will stop at its
# next checkpoint; it exits at once.
Answer = Literal["continue or exit", "at a checkpoint", "exit"]


@dataclass
class _Request:
    """What this process was asked, and what it answers."""

    first: dict[int, float] = field(default_factory=dict)  # signal: when it came first
    listening: bool = False
    answer: Answer = "continue or exit"
    only_warned: Callable[[], bool] = lambda: False


_request = _Request()


def listen(only_warned: Callable[[], bool] = lambda: False) -> None:
    """Handle the signals from now on, in this process only; children that it starts do not.

    only_warned(): whether this process may continue for now, since whoever sends the signal will
    end it when time is up. Called where a stage has no checkpoint to stop at.
    """
    _request.only_warned = only_warned
    _request.first.clear()  # a process that keeps engines listens once for each of its stages
    for number in SIGNALS:
        signal.signal(number, _take)
    if _request.listening:
        return
    _request.listening = True
    # Else a forked worker would answer like the stage: continue, or unwind its copy of it.
    os.register_at_fork(after_in_child=_forget)
    # Python restores the default handlers as it exits: a signal then would make finished work fail.
    atexit.register(ignore_signals)


def stop_requested() -> bool:
    """Whether a signal has come."""
    return bool(_request.first)


@contextmanager
def stopping_at_checkpoints() -> Iterator[None]:
    """Within, the first signal only makes `stop_requested` true.

    A second one of its kind ends the process at once, except in a Slurm job: there signals come
    more than once, and Slurm itself ends the wait.
    """
    with _answering("at a checkpoint"):
        yield


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Within, a signal ends the process even where it could continue.

    For work by child processes: the signal has hit them as well, and their answers cannot be
    trusted.
    """
    with _answering("exit"):
        yield


def ignore_signals() -> None:
    """From now on: the process is about to exit."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def handled(
    handler: Callable[[int, FrameType | None], object], *numbers: signal.Signals
) -> Iterator[None]:
    """Within, these signals call the handler; the previous handlers are restored afterwards."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _take(number: int, _frame: FrameType | None) -> None:
    now, name = time.monotonic(), signal.Signals(number).name
    since_first = now - _request.first.setdefault(number, now)
    again = since_first > _SECONDS_TO_A_SECOND_SIGNAL and "SLURM_JOB_ID" not in os.environ
    if _request.answer == "at a checkpoint" and not again:
        _say(f"{name}: stopping after this optimizer step")
    elif _request.answer == "continue or exit" and _request.only_warned():
        _say(f"{name}: continuing while there is time")
    else:
        _say(f"{name}: exiting")
        # Not os._exit: `finally` blocks on the way out remove temporary files and end children. 128
        # + number is what a shell reports for a process that a signal killed.
        raise SystemExit(128 + number)


@contextmanager
def _answering(answer: Answer) -> Iterator[None]:
    before, _request.answer = _request.answer, answer
    try:
        yield
    finally:
        _request.answer = before


def _forget() -> None:
    for number in SIGNALS:
        # Only ours: the process may have put a handler of its own in place (`handled`).
        if signal.getsignal(number) is _take:
            signal.signal(number, signal.SIG_DFL)


def _say(text: str) -> None:
    # Not print(): the signal may have come in the middle of one.
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{text}\n".encode())
