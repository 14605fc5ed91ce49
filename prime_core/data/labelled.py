"""Responses from users' own files: parquet or JSON lines with prompt and response, any names.

Out: rows of prompt_id, sample, prompt (messages), response, finished (false: cut, without EOS),
end_token (the token at its end, where the file says it) and, where they are asked for, outcome (a
number from 0 to 1).
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from prime_core.data.prompts import conversation, prompt_fault
from prime_core.data.reading import BadLine, DataError, Row, stream_rows, value_of
from prime_core.storage.table_files import find_tables

NAMES = ("prompt_id", "prompt", "response", "outcome", "finished", "end_token")


def read_responses(
    location: str | Path, columns: dict[str, str], key: str, *, with_outcomes: bool
) -> tuple[list[Row], list[str]]:
    """Usable rows, and for each malformed one its number and what is wrong with it.

    location: as prime_core.storage.table_files takes it. columns: our name -> the file's. key:
    where columns came from, {} for our name, for errors. Without a column prompt_id the responses
    to one prompt are a group. An outcome is kept where the file has one; `with_outcomes` makes a
    row without malformed. Raises DataError naming the file and the column.
    """
    unknown = sorted(set(columns) - set(NAMES))
    if unknown:
        setting = key.format(unknown[0])
        raise DataError(f"{setting}: no such column; expected some of {', '.join(NAMES)}")
    theirs = {name: columns.get(name, name) for name in NAMES}
    needed = ("prompt", "response", *(["outcome"] if with_outcomes else []))
    required = {theirs[name]: key.format(name) for name in needed}
    rows: list[Row] = []
    malformed: list[str] = []
    samples: Counter[str] = Counter()
    paths = find_tables(str(location), "train")
    for path in paths:
        # stream_rows would blame the settings under `data`, which do not name this file.
        if not path.is_file():
            raise DataError(f"{path}: no such file; expected responses, parquet or JSON lines")
    for number, values in enumerate(stream_rows(paths, required, theirs.values()), start=1):
        row = _row(values, theirs, with_outcomes)
        if isinstance(row, str):
            malformed.append(f"row {number}: {row}")
            continue
        rows.append(row | {"sample": samples[row["prompt_id"]]})
        samples[row["prompt_id"]] += 1
    if not rows:
        # Both exist: stream_rows refuses a file without rows.
        raise DataError(f"{location}: none of its {number} rows is usable; {malformed[0]}")
    return rows, malformed


def _row(values: Row | BadLine, theirs: dict[str, str], with_outcomes: bool) -> Row | str:
    """A row by our names, or what is wrong with it."""
    if isinstance(values, BadLine):
        return f"{values.reason}: {_quoted(values.quote)}"
    row = {name: value_of(values, column) for name, column in theirs.items()}
    messages, group, outcome = conversation(row["prompt"]), row["prompt_id"], row["outcome"]
    wrong = _what_is_wrong(row, with_outcomes)
    if wrong:
        return wrong
    return {
        "prompt_id": json.dumps(messages, ensure_ascii=False) if group is None else str(group),
        "prompt": messages,
        "response": row["response"],
        "outcome": None if outcome is None else float(outcome),
        # Only an explicit false: most files have no such column, and whole responses.
        "finished": row["finished"] is not False,
        "end_token": row["end_token"] or None,
    }


def _what_is_wrong(row: Row, with_outcomes: bool) -> str:
    """What makes a row malformed, with a quotation; "" where nothing does."""
    if conversation(row["prompt"]) is None:
        return f"prompt is neither text nor messages: {_quoted(row['prompt'])}"
    if fault := prompt_fault(row["prompt"]):
        return f"{fault}: {_quoted(row['prompt'])}"
    if not isinstance(row["response"], str):
        return f"response is not text: {_quoted(row['response'])}"
    if not isinstance(row["end_token"], str | None):
        return f"end_token is not text: {_quoted(row['end_token'])}"
    outcome = row["outcome"]
    if outcome is None and not with_outcomes:
        return ""
    # true and false pass as well: to Python they are 1 and 0.
    if not isinstance(outcome, int | float) or not 0 <= outcome <= 1:
        return f"outcome is not a number from 0 to 1: {_quoted(outcome)}"
    return ""


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
