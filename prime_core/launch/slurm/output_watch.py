"""Whether a job has written its outputs: a cheap sign that it is about to end.

In: the paths of a job's outputs before it is submitted. Out: whether all of them exist and were
written since; one `stat` per check as long as the first is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

# A job that keeps running after it wrote its outputs is polled early this often, then as others.
MAX_EARLY_LOOKS = 8


class OutputWatch:
    """The outputs of one job."""

    def __init__(self, outputs: Iterable[Path]) -> None:
        """Must be created before the job can begin: what exists now was not written by it."""
        # Where work is redone, the outputs of the earlier time may still be there.
        self._before = {path: _identity(path) for path in outputs}
        self._early_looks = 0

    def has_written(self) -> bool:
        """Whether every output exists and has been replaced since; False without outputs."""
        return bool(self._before) and all(
            _identity(path) not in (None, before) for path, before in self._before.items()
        )

    def asks_for_a_look(self) -> bool:
        """Whether the job seems about to end; true MAX_EARLY_LOOKS times at most."""
        if self._early_looks >= MAX_EARLY_LOOKS or not self.has_written():
            return False
        self._early_looks += 1
        return True


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    # Outputs are renamed into place: a new inode even where a disk keeps times in whole seconds.
    return status.st_ino, status.st_mtime_ns
