"""Locks that the system frees when a process ends, however it ends."""

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
    """Wait until no other process makes the same output, then hold its place.

    A killed workflow leaves its running stages behind; when it is started again, the new stage
    must not write beside the old one.
    """
    if not is_first_rank():  # it holds the place for all of them
        yield
        return
    name = os.path.relpath(output, run_dir).replace(os.sep, "-") + ".lock"
    place = run_dir / ".locks" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("w") as handle:
        if not try_lock(handle.fileno()):
            note(f"another process is making {output}; waiting for it to end")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def try_lock(descriptor: int, shared: bool = False) -> bool:
    """Lock an open file unless another process has it locked; whether it is locked now.

    shared: beside others that do the same, as those do who only ask. The lock goes away when the
    file is closed. Raises OSError where the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
