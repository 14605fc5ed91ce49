"""A file that exists is complete: written aside, flushed, renamed."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prime_core.runtime.errors import naming_the_disk


def write_json(path: Path, values: Any) -> None:
    """Write JSON, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A path to write aside; on success it is flushed and renamed to `path`, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.touch(exist_ok=False)
    try:
        with naming_the_disk(path):
            yield temporary
            # Before the rename: after a power failure the new name could have no contents.
            _flush(temporary)
            temporary.replace(path)
            # The rename itself is on disk only with the folder.
            _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, replace: bool = True, aside: Path | None = None) -> Iterator[Path]:
    """A folder to fill aside; on success it takes the place of `path`, else it is removed.

    replace: whether it may take the place of a folder with files; else that is an OSError. aside:
    the folder to fill it in, on the same disk; None: that of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside((aside or path.parent) / path.name)
    temporary.mkdir()
    try:
        with naming_the_disk(path):
            yield temporary
            for file in temporary.rglob("*"):
                _flush(file)
            _flush(temporary)
            if replace:
                _replace_folder(temporary, path)
            else:
                # The system itself refuses a full folder, even one that was filled a moment ago.
                temporary.rename(path)
            _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: Path) -> Path:
    """A fresh name for what will take the place of `path`.

    In the same folder, since a rename between file systems is a copy. A name that no pattern of
    tables matches, and by which RunState.end finds what a kill left.
    """
    # Not tempfile's: its files are their user's alone, whatever a group has agreed on (umask).
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _replace_folder(new: Path, path: Path) -> None:
    if path.exists():  # a folder cannot be renamed over a full one
        old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".old"))
        # A kill between the two renames leaves no folder, never a mixed one: the stage then runs
        # again.
        path.rename(old / path.name)
        new.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    else:
        new.rename(path)


def _flush(path: Path) -> None:
    # Read-only: a folder cannot be opened otherwise, and fsync asks for no more.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
