"""One process at a time makes an output."""

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
    must not write beside the old one. The system gives the place free when a process ends,
    however it ends.
    """
    if not is_first_rank():  # it holds the place for all of them
        yield
        return
    name = os.path.relpath(output, run_dir).replace(os.sep, "-") + ".lock"
    place = run_dir / ".locks" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"another process is making {output}; waiting for it to end")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
