"""Rows that a stage has finished, kept on disk until its whole table is written.

In: a path, and a digest of all that the rows depend on. Out: the rows of an earlier job that was
killed on the way, and a file to which finished ones are added. A file of other inputs is begun
anew; a line that a kill has cut off counts as never written. Values are JSON, which gives floats
back to the bit.
"""

from __future__ import annotations

import glob
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

# Not each row: a sync to a shared disk takes longer than most judgements of mathematics.
_FLUSH_ROWS = 256
_FLUSH_SECONDS = 1.0


def partial_path(output: Path, what: str) -> Path:
    """Where finished rows of a table are kept. what: kind of row, such as "responses"."""
    # No benchmark has a + in its name: a and a.b keep apart.
    return output.parent / ".partial" / f"{output.stem}+{what}.jsonl"


def remove_partial(output: Path) -> None:
    """Remove what was kept for a table, which is written: a kill in between costs no row."""
    for path in (output.parent / ".partial").glob(f"{glob.escape(output.stem)}+*.jsonl"):
        path.unlink(missing_ok=True)


class PartialRows:
    """The finished rows so far, by index. Without a path nothing is kept on disk."""

    def __init__(self, path: Path | None, fingerprint: str) -> None:
        """Read what an earlier job left, if it is of the same inputs."""
        self.path, self.fingerprint = path, fingerprint
        self.rows: dict[int, list[Any]] = {}
        self._unflushed, self._flushed_at = 0, time.monotonic()
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        earlier = _read(path, fingerprint)
        self.rows = earlier or {}
        # ASCII: JSON escapes the rest, also lone surrogates in a model's text, which UTF-8 refuses.
        self._file = path.open("w" if earlier is None else "a", encoding="ascii")
        if earlier is None:
            self._file.write(json.dumps({"fingerprint": fingerprint}))
        self._file.write("\n")  # ends a torn line as well
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self.path is not None:
            self._flush()
            self._file.close()

    def keep(self, rows: Mapping[int, list[Any]], *, at_once: bool = False) -> None:
        """Add finished rows; at_once: on disk now, since they cost more than the disk does."""
        self.rows.update(rows)
        if self.path is None:
            return
        for index, values in rows.items():
            self._file.write(json.dumps([index, *values]) + "\n")
        self._unflushed += len(rows)
        late = time.monotonic() - self._flushed_at > _FLUSH_SECONDS
        if at_once or self._unflushed >= _FLUSH_ROWS or late:
            self._flush()

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._unflushed, self._flushed_at = 0, time.monotonic()


def _read(path: Path, fingerprint: str) -> dict[int, list[Any]] | None:
    """Rows of the file, of two of one index the later; None where it is of other inputs."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").split("\n")
    except FileNotFoundError:
        return None
    if _parsed(lines[0]) != {"fingerprint": fingerprint}:
        return None
    found = {}
    for line in lines[1:]:
        values = _parsed(line)
        if isinstance(values, list):
            found[values[0]] = values[1:]
    return found


def _parsed(line: str) -> Any:
    """A line's value; None for one that was torn by the end of the job that wrote it."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
