"""Problems and demonstrations from people's own files: parquet or JSON lines, any column names."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prime_core.settings_data import Data

Row = dict[str, Any]


class DataError(ValueError):
    """A data file is missing, unreadable or lacks a column."""


def read_problems(path: Path, split: str, data: Data) -> tuple[list[Row], int]:
    """Rows with the columns of PROMPTS, and the number of malformed rows left out.

    Raises DataError naming the file and the column.
    """
    table = _read(path)
    _require(table, ("prompt", "ground_truth"), data, path)
    rows: list[Row] = []
    for place, row in enumerate(table):
        messages = as_messages(_value(row, "prompt", data), data)
        answer = _after(data.ground_truth_after, _value(row, "ground_truth", data))
        if messages is None or answer is None or not str(answer).strip():
            continue
        rows.append(
            {
                "prompt_id": str(_value(row, "prompt_id", data) or f"{split}-{place:06d}"),
                "prompt": messages,
                "ability": str(_value(row, "ability", data) or "math"),
                "ground_truth": answer if isinstance(answer, str) else json.dumps(answer),
                "data_source": str(_value(row, "data_source", data) or path.stem),
            }
        )
    repeated = len(rows) - len({row["prompt_id"] for row in rows})
    if repeated:
        raise DataError(f"{path}: {repeated} values of prompt_id stand more than once")
    return rows, len(table) - len(rows)


def read_demonstrations(path: Path, data: Data) -> tuple[list[Row], int]:
    """Rows with the columns of DEMONSTRATIONS, and the number of malformed rows left out."""
    table = _read(path)
    _require(table, ("prompt", "response"), data, path)
    rows: list[Row] = []
    for row in table:
        messages = as_messages(_value(row, "prompt", data), data)
        response = _value(row, "response", data)
        if messages is not None and isinstance(response, str) and response:
            rows.append({"prompt": messages, "response": response})
    return rows, len(table) - len(rows)


def as_messages(prompt: Any, data: Data) -> list[dict[str, str]] | None:
    """A conversation from a text or from messages, with system prompt and suffix; None: neither."""
    if isinstance(prompt, str):
        messages = [{"role": "user", "content": prompt}] if prompt.strip() else []
    elif isinstance(prompt, list) and all(map(_is_message, prompt)):
        messages = [{"role": m["role"], "content": m["content"]} for m in prompt]
    else:
        return None
    if not messages:
        return None
    if data.system_prompt and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": data.system_prompt}, *messages]
    last = messages[-1]
    return [*messages[:-1], {**last, "content": last["content"] + data.prompt_suffix}]


def _after(mark: str, answer: Any) -> Any:
    """The text behind the last mark, None where there is none; without a mark the value itself."""
    if not mark:
        return answer
    _, found, text = answer.rpartition(mark) if isinstance(answer, str) else ("", "", "")
    return text.strip() if found else None


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(name), str) for name in ("role", "content")
    )


def _read(path: Path) -> list[Row]:
    if not {".parquet", ".jsonl", ".json"} & set(path.suffixes):
        raise DataError(f"{path}: expected a .parquet, .jsonl or .jsonl.gz file")
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path).to_pylist()
        return _read_lines(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; named in the settings under data") from None
    except (pa.ArrowException, EOFError, OSError, zlib.error, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: not readable as a table: {reason}") from None


def _read_lines(path: Path) -> list[Row]:
    opener = gzip.open if path.suffix == ".gz" else open
    rows: list[Row] = []
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise DataError(f"{path}: line {number} is not JSON: {error}") from None
            if not isinstance(row, dict):
                raise DataError(f"{path}: line {number}: expected an object, found {line[:40]!r}")
            rows.append(row)
    return rows


def _require(table: list[Row], names: tuple[str, ...], data: Data, path: Path) -> None:
    if not table:
        raise DataError(f"{path}: holds no rows")
    for name in names:
        column = data.columns.get(name, name)
        if not any(_has(row, column) for row in table):
            found = sorted({key for row in table[:100] for key in row})
            raise DataError(
                f"{path}: column '{column}' is missing; found {found}; "
                f"name the file's own column in data.columns.{name}"
            )


def _has(row: Row, column: str) -> bool:
    return column in row or (column.partition(".")[0] in row and "." in column)


def _value(row: Row, name: str, data: Data) -> Any:
    """A row's value; a column may lie inside another: reward_model.ground_truth."""
    column = data.columns.get(name, name)
    if column in row:
        value = row[column]
    else:
        value = row
        for part in column.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    return None if isinstance(value, float) and value != value else value
