"""What a stage's work depends on, as one digest: settings and the contents of its inputs."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from prime_core.run.changes import is_changeable
from prime_core.settings.reading import flatten
from prime_core.settings.run import Settings

_SNAKEMAKES = ".snakemake_timestamp"
_BLOCK = 1 << 20
# Of a larger file, weights above all, only this many blocks are read: training changes every
# number, so any block shows it.
_NUM_BLOCKS = 64
# Settings that no training stage reads.
_APART = ("evaluation.", "checkpoints.", "verification.")


def input_digest(settings: Settings, inputs: Sequence[Path]) -> str:
    """A digest of the settings that results depend on, and of files and folders by content.

    Of a folder its files count, its subfolders do not. Raises OSError for a missing input.
    """
    digest = hashlib.sha256(json.dumps(_settings_that_matter(settings), sort_keys=True).encode())
    for path in inputs:
        for file in _files(path):
            # Name and size first: else a byte could pass from the end of one file to the next
            # unseen.
            digest.update(f"{file.name} {file.stat().st_size}\n".encode())
            for block in _blocks(file):
                digest.update(block)
    return digest.hexdigest()


def folder_digest(folder: Path) -> str:
    """A digest of all files below a folder, by name and content. Raises OSError where it is gone.

    Snakemake's own file, which it writes into folders that are outputs, does not count.
    """
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(folder))
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if file.name != _SNAKEMAKES:
            digest.update(f"{file.relative_to(folder)} {file.stat().st_size}\n".encode())
            for block in _blocks(file):
                digest.update(block)
    return digest.hexdigest()


def _settings_that_matter(settings: Settings) -> dict[str, object]:
    return {
        key: value
        for key, value in flatten(settings.model_dump(mode="json")).items()
        # run, results: a run that was renamed or moved may still resume from its checkpoints.
        if not is_changeable(key) and not key.startswith(_APART) and key not in ("run", "results")
    }


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def _blocks(file: Path) -> Iterator[bytes]:
    last = max(file.stat().st_size - _BLOCK, 0)
    step = max(last // (_NUM_BLOCKS - 1), _BLOCK)
    with file.open("rb") as stream:
        for start in (*range(0, last, step), last):
            stream.seek(start)
            yield stream.read(_BLOCK)
