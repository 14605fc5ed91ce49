"""Locks that the system frees when a process ends, however it ends: docs/decisions.md#own-lock.

Some file systems have none. There a lock file names its process, and others of the same machine
wait while that one lives; of another machine's processes nothing is known.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prime_core.runtime.console import note
from prime_core.runtime.rank import is_first_rank

# NFS without a lock manager; file systems that leave flock out (Lustre without `-o flock`, FUSE).
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
_SECONDS_BETWEEN_LOOKS = 0.5


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
    with lock.open("r+" if lock.exists() else "w+") as handle:
        waiting = f"another process is writing {output}; waiting for it to finish"
        locked = try_flock(handle.fileno())
        if locked is None:
            _wait_for_process(lock, waiting)
            lock.write_text(_this_process(), encoding="utf-8")
        elif not locked:
            note(waiting)
            fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if locked is None:
                lock.write_text("", encoding="utf-8")


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


def try_flock(descriptor: int, shared: bool = False) -> bool | None:
    """try_lock; None where the file system has no locks."""
    try:
        return try_lock(descriptor, shared)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return None


def _wait_for_process(lock: Path, waiting: str) -> None:
    """Wait while the process that a lock file names is alive on this machine."""
    said = False
    while _is_alive(lock.read_text(encoding="utf-8")):
        if not said:
            note(waiting)
            said = True
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _this_process() -> str:
    return f"{socket.gethostname()} {os.getpid()} {_started(os.getpid())}"


def _is_alive(record: str) -> bool:
    """Whether a record is that of another living process of this machine."""
    try:
        host, pid, started = record.split()
    except ValueError:  # blank: its process has ended
        return False
    # With the time of its start: numbers of processes are used again.
    return (
        host == socket.gethostname() and int(pid) != os.getpid() and _started(int(pid)) == started
    )


def _started(pid: int) -> str:
    """When a process was started, in ticks since the machine was; "-" where there is none."""
    try:
        # The name of the program, in brackets, may hold blanks.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return "-"
