"""Problems and demonstrations from people's own files: parquet or JSON lines, any column names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from prime_core.config import Data

Row = dict[str, Any]


class DataError(ValueError):
    """A data file is missing, unreadable or lacks a column."""


def read_problems(path: Path, split: str, data: Data) -> tuple[list[Row], int]:
    """Rows with the columns of PROMPTS, and the number of malformed rows left out.

    Raises DataError naming the file and the column.
    """
    frame = _read(path)
    prompt = _column(frame, "prompt", data, path)
    truth = _column(frame, "ground_truth", data, path)
    ability = _optional(frame, "ability", data, "math")
    source = _optional(frame, "data_source", data, path.stem)
    ids = _optional(frame, "prompt_id", data, None)
    rows: list[Row] = []
    for place, (text, answer) in enumerate(zip(prompt, truth, strict=True)):
        messages = as_messages(text, data)
        if messages is None or answer is None or not str(answer).strip():
            continue
        rows.append(
            {
                "prompt_id": str(ids[place]) if ids[place] is not None else f"{split}-{place:06d}",
                "prompt": messages,
                "ability": str(ability[place]),
                "ground_truth": answer if isinstance(answer, str) else json.dumps(_plain(answer)),
                "data_source": str(source[place]),
            }
        )
    repeated = len(rows) - len({row["prompt_id"] for row in rows})
    if repeated:
        raise DataError(f"{path}: {repeated} values of prompt_id stand more than once")
    return rows, len(frame) - len(rows)


def read_demonstrations(path: Path, data: Data) -> tuple[list[Row], int]:
    """Rows with the columns of DEMONSTRATIONS, and the number of malformed rows left out."""
    frame = _read(path)
    prompt, response = (_column(frame, name, data, path) for name in ("prompt", "response"))
    rows: list[Row] = []
    for text, answer in zip(prompt, response, strict=True):
        messages = as_messages(text, data)
        if messages is not None and isinstance(answer, str) and answer:
            rows.append({"prompt": messages, "response": answer})
    return rows, len(frame) - len(rows)


def as_messages(prompt: Any, data: Data) -> list[dict[str, str]] | None:
    """A conversation from a text or from messages, with system prompt and suffix; None: neither."""
    if isinstance(prompt, str):
        messages = [{"role": "user", "content": prompt}] if prompt.strip() else []
    else:
        try:
            messages = [{"role": str(m["role"]), "content": str(m["content"])} for m in prompt]
        except (TypeError, KeyError, IndexError):
            return None
    if not messages:
        return None
    if data.system_prompt and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": data.system_prompt}, *messages]
    last = messages[-1]
    return [*messages[:-1], {**last, "content": last["content"] + data.prompt_suffix}]


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if ".jsonl" in path.suffixes or ".json" in path.suffixes:
            return pd.read_json(path, lines=True, dtype=False, convert_dates=False)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; named in the settings under data") from None
    except (pa.ArrowException, EOFError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: not readable as a table: {reason}") from None
    raise DataError(f"{path}: expected a .parquet or .jsonl file")


def _column(frame: pd.DataFrame, name: str, data: Data, path: Path) -> list[Any]:
    column = data.columns.get(name, name)
    if column not in frame:
        raise DataError(
            f"{path}: column '{column}' is missing; found {list(frame.columns)}; "
            f"name the file's own column in data.columns.{name}"
        )
    return [None if _missing(value) else value for value in frame[column]]


def _optional(frame: pd.DataFrame, name: str, data: Data, default: Any) -> list[Any]:
    column = data.columns.get(name, name)
    values = frame[column] if column in frame else [None] * len(frame)
    return [default if _missing(value) else value for value in values]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
