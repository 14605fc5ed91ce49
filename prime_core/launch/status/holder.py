"""Which process holds a run now, according to its lock file (prime_core.runtime.run_lock).

In: the run's lock file. Out: its holder, if it gave a sign of life lately. The lock is not taken.
"""

from __future__ import annotations

import json
import os
import socket
import time

from prime_core.run.layout import RunFiles
from prime_core.runtime.locks import try_lock
from prime_core.runtime.run_lock import PATIENCE, SECONDS_BETWEEN_TOUCHES, Holder

# Seconds: clocks of hosts, and of the file system's server, differ.
_CLOCKS = 30.0


def alive_holder(files: RunFiles) -> Holder | None:
    """The workflow that holds a run, or seems to; None where there is none."""
    path = files.root / ".locks" / "workflow"
    try:
        record, touched = path.read_bytes(), path.stat().st_mtime
        holder = Holder(**json.loads(record))
    except (OSError, ValueError, TypeError):  # none yet, or released
        return None
    if holder.host == socket.gethostname():
        return holder if _is_locked(files) else None
    silent = time.time() - touched
    return holder if silent < PATIENCE * SECONDS_BETWEEN_TOUCHES + _CLOCKS else None


def _is_locked(files: RunFiles) -> bool:
    """Whether a process of this machine has the lock."""
    descriptor = os.open(files.root / ".locks" / "workflow", os.O_RDWR)
    try:
        return not try_lock(descriptor, shared=True)
    except OSError:  # no file locks here: what the file says is all that is known
        return True
    finally:
        os.close(descriptor)
