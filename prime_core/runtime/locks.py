"""Locks that the system frees when a process ends, however it ends: docs/decisions.md#own-lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prime_core.runtime.console import note
from prime_core.runtime.rank import is_first_rank


@contextmanager
def only_one(output: Path, run_dir: Path) -> Iterator[None]:
    """Wait until no other process is writing the same output, then hold its lock.

    A killed workflow leaves its running stages behind; when it is started again, the new stage
    must not write at the same time as the old one.
    """
    if not is_first_rank():  # the first rank holds the lock for all of them
        yield
        return
    name = os.path.relpath(output, run_dir).replace(os.sep, "-") + ".lock"
    lock = run_dir / ".locks" / name
    lock.parent.mkdir(parents=True, exist_ok=True)
    # Never removed: a process that waits for a removed file's lock would share it with nobody.
    with lock.open("w") as handle:
        if not try_lock(handle.fileno()):
            note(f"another process is writing {output}; waiting for it to finish")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def try_lock(descriptor: int, shared: bool = False) -> bool:
    """Lock an open file unless another process has it locked; whether it is locked now.

    shared: compatible with other shared locks, for processes that only check. The lock goes away
    when the file is closed. Raises OSError where the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
