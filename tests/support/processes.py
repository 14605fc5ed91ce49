"""Processes that a test started or whose parents it ended."""

import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil


def is_at_work(process: psutil.Process) -> bool:
    """Whether it runs; a dead one stays a zombie where nobody asks for its status."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


@contextmanager
def paused(folder: Path, *words: str) -> Iterator[None]:
    """Within, processes at work in a folder whose command lines have all these words stand still.

    Waits for the first of them. What a test looks at meanwhile is still there, however slow the
    machine; signals reach them when they go on.
    """
    end = time.monotonic() + 240
    while not (processes := [one for one in psutil.process_iter() if _is_one(one, folder, words)]):
        assert time.monotonic() < end, f"no process with {words} in {folder}"
        time.sleep(0.1)
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def _is_one(process: psutil.Process, folder: Path, words: Sequence[str]) -> bool:
    try:
        # Tests of other checkouts may run on the same machine.
        return set(words) <= set(process.cmdline()) and Path(process.cwd()).is_relative_to(folder)
    except psutil.Error:
        return False
