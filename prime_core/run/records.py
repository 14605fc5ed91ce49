"""What a table or a folder of weights says of itself: where it belongs, and what it was made from.

A table carries its record in the parquet file, a folder of weights in made_from.json:

    path        where it belongs, below the run's folder
    made_from   path -> identity of each table and folder that it was made from
    content     of a table: a digest of its columns, without those that are measured (seconds)
    files       of a folder: name -> digest of each of its files

Whoever reads one checks that it lies where it belongs and was made from what is there now, so that
a file that was exchanged, flipped or brought in from elsewhere is refused by name.
docs/decisions.md#records
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prime_core.run.atomic import write_json
from prime_core.runtime.content_digest import content_digest
from prime_core.runtime.errors import first_line
from prime_core.runtime.rank import is_first_rank

RECORD = "made_from.json"
_KEY = b"prime"
_MEASURED = {"seconds"}  # columns that two runs of the same settings do not share
_AGAIN = "delete it and run again"


class TableError(ValueError):
    """A table or weights are missing, incomplete, or not those that were expected."""


@dataclass(frozen=True)
class Made:
    """What is made in a run's folder, root, from which of its tables and folders.

    Inputs outside of the run's folder, as the settings name them, are left out, and so are figures,
    which hold times. facts: what else a reader compares with.
    """

    root: Path
    inputs: Sequence[Path] = ()
    facts: Mapping[str, float] = field(default_factory=dict)

    def record(self, path: Path) -> dict[str, Any]:
        """The record of what will be at `path`. Raises TableError for an unreadable input."""
        made_from = {
            _below(self.root, one): identity(one)
            for one in self.inputs
            if one.is_relative_to(self.root) and one.suffix != ".json"
        }
        return {"path": _below(self.root, path), "made_from": made_from, **self.facts}


class ContentDigest:
    """A digest of the rows of a table as they are written."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def update(self, table: pa.Table) -> None:
        """Add some rows."""
        kept = [name for name in table.column_names if name not in _MEASURED]
        # Without metadata: pandas notes its own version there.
        part = table.select(kept).combine_chunks().replace_schema_metadata(None)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, part.schema) as stream:
            stream.write_table(part)
        self._digest.update(sink.getvalue())

    def metadata(self, record: Mapping[str, Any]) -> dict[bytes, bytes]:
        """What goes into the parquet file: the record with the rows' digest."""
        whole = {**record, "content": self._digest.hexdigest()}
        return {_KEY: json.dumps(whole, sort_keys=True).encode()}


def record_of_table(path: Path, metadata: pq.FileMetaData) -> dict[str, Any]:
    """The record of an open table; {} where it has none. Raises TableError for a damaged one."""
    text = (metadata.metadata or {}).get(_KEY)
    return {} if text is None else _parsed(path, text)


def identity(path: Path) -> str:
    """What tells this table or folder from any other of its name. Raises TableError."""
    try:
        if path.is_dir():
            record = path / RECORD
            return content_digest([record] if record.exists() else _named(path).values())
        found = record_of_table(path, pq.read_metadata(path))
        return str(found.get("content") or content_digest([path]))
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"{path}: not readable ({first_line(error)}); {_AGAIN}") from None


def check_record(path: Path, record: Mapping[str, Any], root: Path) -> None:
    """Raise TableError unless what is at `path` belongs there and was made from what is there."""
    if not path.is_relative_to(root):
        return  # a table or model of the settings, not of the run
    if not record:
        # A run of an earlier version has none, and its first table shows it.
        if _has_records(path, root):
            raise TableError(
                f"{path}: does not say what it was made from, as all tables and weights of this "
                f"run do, so it comes from elsewhere; {_AGAIN}"
            )
        return
    if record.get("path") != _below(root, path):
        raise TableError(f"{path}: is {record.get('path')} of a run, put in its place; {_AGAIN}")
    for name, known in record.get("made_from", {}).items():
        other = root / name
        if _identity_now(other) not in (known, None):
            raise TableError(
                f"{path}: was not made from the {other} that is there now; delete the one that "
                "does not belong to this run and run again"
            )


def _identity_now(path: Path) -> str | None:
    """The identity of a table or folder; None where there is nothing to compare with.

    Weights of old iterations are gone, and a branch has its origin's start alone. A folder that has
    lost its record may be on its way: Snakemake deletes weights while other stages read tables.
    """
    read = path if path.suffix == ".parquet" else path / RECORD
    try:
        return identity(path) if read.exists() else None
    except TableError:
        if read.exists():
            raise
        return None  # it went away meanwhile


def write_weights_record(folder: Path, path: Path, made: Made) -> None:
    """Write the record of a folder whose files are complete and which will be at `path`."""
    files = {name: content_digest([file]) for name, file in _named(folder).items()}
    write_json(folder / RECORD, made.record(path) | {"files": files})


def weights_fact(folder: Path, name: str) -> float | None:
    """A fact of the record of weights; None where there is none. Raises TableError: damaged."""
    path = folder / RECORD
    found: float | None = _parsed(path, path.read_bytes()).get(name) if path.exists() else None
    return found


def checked_weights(folder: Path, root: Path) -> Path:
    """The folder of weights itself, if it is whole, in its place and made from what is there.

    Raises TableError naming it. Of several ranks the first looks.
    """
    # A folder that is missing is refused by whoever loads it, in words of its own.
    if not is_first_rank() or not folder.is_dir() or not folder.is_relative_to(root):
        return folder
    path = folder / RECORD
    record = _parsed(path, path.read_bytes()) if path.exists() else {}
    check_record(folder, record, root)
    if record:
        check_files(folder, record.get("files", {}))
    return folder


def check_files(folder: Path, known: Mapping[str, str]) -> None:
    """Raise TableError unless a folder has exactly these files, by name and digest."""
    there = _named(folder)
    for name in sorted({*known, *there}):
        if name not in there:
            raise TableError(f"{folder / name}: is missing; delete {folder} and run again")
        if name not in known:
            raise TableError(f"{folder / name}: does not belong there; remove it")
        if content_digest([there[name]]) != known[name]:
            raise TableError(
                f"{folder / name}: is not the file that was written there (damaged, or another's); "
                f"delete {folder} and run again"
            )


def _named(folder: Path) -> dict[str, Path]:
    """Files of a folder by their path in it: without the record and what is hidden, Snakemake's.

    A training state has a record of its own: it may be made later than the weights.
    """
    return {
        name: file
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and file.name != RECORD
        and not (name := file.relative_to(folder).as_posix()).startswith((".", "training_state/"))
    }


def _has_records(path: Path, root: Path) -> bool:
    """Whether this run's tables carry records: whether its training problems do."""
    first = root / "data" / "train.parquet"
    if path == first or not first.exists():
        return False
    try:
        return bool(record_of_table(first, pq.read_metadata(first)))
    except (OSError, pa.ArrowException):
        return False  # whoever reads that table says so


def _parsed(path: Path, text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise TableError(f"{path}: its record of what it was made from is damaged; {_AGAIN}")
    return found


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
