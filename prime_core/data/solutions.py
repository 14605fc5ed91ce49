"""Solutions in steps with the place of their first error, as ProcessBench publishes them.

In: parquet or JSON-lines files of problem, steps (a list of texts), label (index of the first wrong
step, from 0 on; -1: none) and, where known, final_answer_correct; separator, where it is no blank
line that stands between two steps. Out: rows of id, prompt (messages), steps, separator, label,
final_answer_correct (None: unknown).
"""

from __future__ import annotations

from pathlib import Path

from prime_core.data.prompts import conversation, prompt_fault
from prime_core.data.reading import BadLine, DataError, Row, stream_rows, value_of

NAMES = ("id", "problem", "steps", "separator", "label", "final_answer_correct")
BLANK_LINE = "\n\n"


def read_solutions(
    file: str | Path, columns: dict[str, str], key: str, num_rows: int | None = None
) -> tuple[list[Row], list[str]]:
    """Usable rows of a file, and for each malformed one its number and what is wrong with it.

    columns: our name -> the file's. key: where columns came from, {} for our name, for errors.
    num_rows: how many rows are read, from the first on; None: all. Raises DataError naming file
    and column.
    """
    if unknown := sorted(set(columns) - set(NAMES)):
        raise DataError(
            f"{key.format(unknown[0])}: no such column; expected some of {', '.join(NAMES)}"
        )
    path = Path(file)
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected solutions, parquet or JSON lines")
    theirs = {name: columns.get(name, name) for name in NAMES}
    required = {theirs[name]: key.format(name) for name in ("problem", "steps", "label")}
    rows: list[Row] = []
    malformed: list[str] = []
    for number, values in enumerate(stream_rows([path], required, theirs.values()), start=1):
        if num_rows is not None and number > num_rows:
            break
        row = _row(values, theirs, number)
        if isinstance(row, str):
            malformed.append(f"row {number}: {row}")
        else:
            rows.append(row)
    if not rows:
        raise DataError(f"{path}: none of its rows is usable; {malformed[0]}")
    return rows, malformed


def _row(values: Row | BadLine, theirs: dict[str, str], number: int) -> Row | str:
    """A row by our names, or what is wrong with it."""
    if isinstance(values, BadLine):
        return f"{values.reason}: {values.quote[:57]}"
    row = {name: value_of(values, column) for name, column in theirs.items()}
    steps, label = row["steps"], row["label"]
    if fault := prompt_fault(row["problem"]):
        return f"problem: {fault}"
    texts = isinstance(steps, list) and all(isinstance(step, str) for step in steps)
    if not texts or not steps or not all(step.strip() for step in steps):
        return "steps is not a list of texts, none of them empty"
    # bool is an int to Python.
    if not isinstance(label, int) or isinstance(label, bool) or not -1 <= label < len(steps):
        return f"label {label!r} is neither -1 nor the index of one of {len(steps)} steps"
    if not isinstance(row["final_answer_correct"], bool | None):
        return f"final_answer_correct is {row['final_answer_correct']!r}, not true or false"
    separator = BLANK_LINE if row["separator"] is None else row["separator"]
    if not isinstance(separator, str):
        return f"separator is {separator!r}, not a text"
    return {
        "id": str(number if row["id"] is None else row["id"]),
        "prompt": conversation(row["problem"]),
        "steps": steps,
        "separator": separator,
        "label": label,
        "final_answer_correct": row["final_answer_correct"],
    }
