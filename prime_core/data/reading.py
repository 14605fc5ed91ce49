"""Rows of users' own files, one after another: parquet in batches, JSON line by line.

In: paths of one table's files, and which columns it must have. Out: rows as dicts; a line that is
not a row as BadLine. Never the whole file at once: some are larger than a node's memory.
docs/decisions.md#no-datasets-library
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from prime_core.storage.table_files import SUFFIXES

Row = dict[str, Any]
_ROWS_A_BATCH = 1024
# JSON rows may omit a column where they have no value; but a misspelt name should not cost reading
# a huge file to its end.
_ROWS_LOOKED_AT = 1000  # for columns that no row has


class DataError(ValueError):
    """A data file is missing, unreadable or lacks a column."""


@dataclass(frozen=True)
class BadLine:
    """A line that is not a row: why, and its beginning."""

    reason: str
    quote: str


def read_rows(path: Path) -> list[Row]:
    """All rows of a small parquet or JSON-lines file. Raises DataError naming the file."""
    rows = list(stream_rows([path], {}))
    for number, row in enumerate(rows, start=1):
        if isinstance(row, BadLine):
            raise DataError(f"{path}: line {number} {row.reason}: {row.quote[:40]!r}")
    return [row for row in rows if not isinstance(row, BadLine)]


def num_rows(paths: Sequence[Path]) -> int:
    """Rows of parquet files, as their footers say; 0 where counting would mean reading."""
    try:
        return sum(pq.ParquetFile(path).metadata.num_rows for path in paths)
    except (pa.ArrowException, OSError):
        return 0


def stream_rows(
    paths: Sequence[Path], required: Mapping[str, str], wanted: Collection[str] | None = None
) -> Iterator[Row | BadLine]:
    """Rows of one table's files.

    required: column of the file -> the key that names it. wanted: columns to read, where a format
    can leave out the others; None: all.
    Raises DataError for a file that is missing, damaged or empty, and for a column that it lacks.
    """
    for path in paths:
        yield from _required_there(_rows_of(path, required, wanted), path, required)


def _required_there(
    rows: Iterator[Row | BadLine], path: Path, required: Mapping[str, str]
) -> Iterator[Row | BadLine]:
    """The rows, once it is clear that some of them have the columns."""
    missing, found, number = set(required), set[str](), 0
    for number, row in enumerate(rows, start=1):
        if missing and isinstance(row, dict):
            found |= set(row) if number <= 100 else set()
            missing = {column for column in missing if not has_column(row, column)}
        if missing and number == _ROWS_LOOKED_AT:
            _refuse(path, missing, required, found)
        yield row
    if not number:
        raise DataError(f"{path}: holds no rows")
    if missing:
        _refuse(path, missing, required, found)


def _refuse(path: Path, missing: set[str], required: Mapping[str, str], found: set[str]) -> None:
    column = next(column for column in required if column in missing)
    raise DataError(
        f"{path}: column '{column}' is missing; found {sorted(found)}; "
        f"name the file's own column in {required[column]}"
    )


def has_column(row: Mapping[str, Any], column: str) -> bool:
    """Whether a row may hold a column, by its own name or inside another one."""
    # What lies inside a column may be missing in this row and be there in the next.
    return column in row or (column.partition(".")[0] in row and "." in column)


def value_of(row: Row, column: str) -> Any:
    """A row's value; a column may lie inside another: reward_model.ground_truth. None: absent."""
    # First as it is: a column's own name may hold a dot.
    if column in row:
        value = row[column]
    else:
        value = row
        for part in column.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    # NaN: pandas writes it where a value is missing.
    return None if isinstance(value, float) and value != value else value


def _rows_of(
    path: Path, required: Mapping[str, str], wanted: Collection[str] | None
) -> Iterator[Row | BadLine]:
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{path}: expected a .parquet, .jsonl or .jsonl.gz file")
    try:
        if path.suffix == ".parquet":
            yield from _parquet_rows(path, required, wanted)
        else:
            yield from _json_rows(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; named in the settings under data") from None
    # A truncated .gz raises EOFError or zlib.error, and neither is an OSError.
    except (pa.ArrowException, EOFError, OSError, zlib.error, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: not readable as a table: {reason}") from None


def _parquet_rows(
    path: Path, required: Mapping[str, str], wanted: Collection[str] | None
) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        missing = {column for column in required if not has_column(dict.fromkeys(names), column)}
        # An empty file is refused as such, whatever its columns (_required_there).
        if missing and file.metadata.num_rows:
            _refuse(path, missing, required, set(names))
        tops = None if wanted is None else {column.partition(".")[0] for column in wanted}
        # wanted itself as well: a name with a dot may be a column's own.
        chosen = [name for name in names if tops is None or name in tops or name in (wanted or ())]
        for batch in file.iter_batches(_ROWS_A_BATCH, columns=chosen):
            yield from batch.to_pylist()


def _json_rows(path: Path) -> Iterator[Row | BadLine]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        if _begins_a_list(lines):
            yield from _listed_rows(lines, path)
            return
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = _parsed(line)
            # A whole last line may lack its line break. One that lacks it and is no JSON was cut,
            # and rows behind it are missing: not one malformed row, but a damaged file.
            if isinstance(row, BadLine) and not line.endswith("\n"):  # cut in the middle
                raise DataError(f"{path}: line {number} {row.reason}: the file ends there")
            yield row


def _begins_a_list(lines: IO[str]) -> bool:
    """Whether the file is one JSON list and not a row a line."""
    first = lines.read(1)
    while first.isspace():
        first = lines.read(1)
    lines.seek(0)
    return first == "["


def _listed_rows(lines: IO[str], path: Path) -> Iterator[Row | BadLine]:
    try:
        # At once, unlike the other formats: a list has no rows line by line.
        rows = json.load(lines)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path}: begins like a JSON list, but is not one: {error}") from None
    for row in rows:
        yield row if isinstance(row, dict) else BadLine("is not an object", str(row))


def _parsed(line: str) -> Row | BadLine:
    try:
        row = json.loads(line)
    # Deep nesting overflows the parser's stack: that is the line's fault, and must not end the
    # stage.
    except (json.JSONDecodeError, RecursionError) as error:
        return BadLine(f"is not JSON ({error})", line)
    return row if isinstance(row, dict) else BadLine("is not an object", line)
