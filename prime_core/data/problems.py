"""Problems and demonstrations from users' own files: any column names, malformed rows among them.

In: where a table is (prime_core.storage.table_files), and the settings `data`. Out: rows with the
columns of PROMPTS or DEMONSTRATIONS, one after another; a malformed row as Dropped, with its
beginning.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prime_core.data.prompts import (
    ability_of,
    as_messages,
    conversation,
    merge_system,
    problem_text,
    prompt_fault,
)
from prime_core.data.reading import BadLine, DataError, Row, read_rows, stream_rows, value_of
from prime_core.settings.data import Data
from prime_core.storage.table_files import find_tables

__all__ = [
    "DataError",
    "Dropped",
    "Problem",
    "as_messages",
    "problem_of",
    "quotation",
    "read_demonstrations",
    "read_problems",
    "read_rows",
    "stream_demonstrations",
    "stream_problems",
]
_QUOTED = 200  # characters of a row that is left out


@dataclass(frozen=True)
class Dropped:
    """A row that is left out: which, why, and how it begins. Columns of DROPPED."""

    source: str
    row: int
    reason: str
    detail: str
    quote: str
    prompt_id: str = ""


@dataclass(frozen=True)
class Problem:
    """A problem: its row of PROMPTS, its text without templates, and where it comes from."""

    row: Row
    text: str
    source: str
    row_number: int

    def dropped(self, reason: str, detail: str) -> Dropped:
        """This problem, left out after all."""
        quote = self.text[:_QUOTED]
        return Dropped(self.source, self.row_number, reason, detail, quote, self.row["prompt_id"])


def read_problems(location: str | Path, split: str, data: Data) -> tuple[list[Row], int]:
    """Rows with the columns of PROMPTS, and the number of malformed rows left out.

    split: what the table is for; prompt_id begins with it. Raises DataError naming file and column.
    """
    found = list(stream_problems(location, split, data))
    rows = [one.row for one in found if isinstance(one, Problem)]
    return rows, len(found) - len(rows)


def read_demonstrations(location: str | Path, data: Data) -> tuple[list[Row], int]:
    """Rows with the columns of DEMONSTRATIONS, and the number of malformed rows left out."""
    found = list(stream_demonstrations(location, data))
    rows = [one for one in found if isinstance(one, dict)]
    return rows, len(found) - len(rows)


def stream_problems(
    location: str | Path,
    split: str,
    data: Data,
    *,
    name: str | None = None,
    ability: str = "math",
    abilities: Collection[str] | None = None,
) -> Iterator[Problem | Dropped]:
    """Problems of one table, in order; the malformed rows among them.

    split: what the table is for. name: what prompt_id begins with, the split if left out.
    ability: of rows that name none. abilities: those that a verifier judges; None: any.
    Raises DataError naming file and column, or two rows with the same prompt_id.
    """
    paths = find_tables(str(location), split)
    columns = {key: data.columns.get(key, key) for key in ("prompt", "ground_truth")}
    required = {column: f"data.columns.{key}" for key, column in columns.items()}
    names = ("prompt_id", "ability", "data_source")
    wanted = [*required, *(data.columns.get(key, key) for key in names), *_system_column(data)]
    known: set[str] = set()
    num_repeated, source = 0, str(location)
    data_source = paths[0].stem if paths == [Path(location)] else source
    for number, row in enumerate(stream_rows(paths, required, wanted)):
        if isinstance(row, BadLine):
            yield Dropped(source, number, "malformed", row.reason, row.quote[:_QUOTED])
            continue
        defaults = {"prompt_id": f"{name or split}-{number:06d}", "ability": ability}
        found = problem_of(row, data, defaults | {"data_source": data_source}, abilities)
        if isinstance(found, str):
            yield Dropped(source, number, "malformed", found, quotation(row))
            continue
        if name and found["prompt_id"] != defaults["prompt_id"]:
            found["prompt_id"] = f"{name}-{found['prompt_id']}"  # sources may use the same ids
        num_repeated += found["prompt_id"] in known
        known.add(found["prompt_id"])
        text = problem_text(found["prompt"], data, found["ability"])
        found["prompt"] = merge_system(found["prompt"], data)
        yield Problem(found, text, source, number)
    # Only at the end, to say how many; whoever writes the rows meanwhile throws them away
    # (table_writer).
    if num_repeated:
        raise DataError(f"{location}: {num_repeated} values of prompt_id occur more than once")


def stream_demonstrations(location: str | Path, data: Data) -> Iterator[Row | Dropped]:
    """Demonstrations of one table, in order; the malformed rows among them.

    The response may lie in the conversation: then both columns name it; its last message counts.
    """
    data = data.model_copy(update={"columns": data.columns | data.sft_columns})
    columns = {key: data.columns.get(key, key) for key in ("prompt", "response")}
    required = {column: f"data.columns.{key}" for key, column in columns.items()}
    wanted = [*required, data.columns.get("ability", "ability"), *_system_column(data)]
    paths = find_tables(str(location), "sft")
    for number, row in enumerate(stream_rows(paths, required, wanted)):
        if isinstance(row, BadLine):
            yield Dropped(str(location), number, "malformed", row.reason, row.quote[:_QUOTED])
            continue
        found = _demonstration(row, data)
        if isinstance(found, str):
            yield Dropped(str(location), number, "malformed", found, quotation(row))
        else:
            yield found


def problem_of(
    row: Row, data: Data, defaults: dict[str, str], abilities: Collection[str] | None
) -> Row | str:
    """A row of PROMPTS, its system message not yet merged, or what is wrong with it."""
    ability = ability_of(_value(row, "ability", data), defaults["ability"])
    prompt = _value(row, "prompt", data)
    messages = as_messages(prompt, data, ability, _system(row, data))
    whole = _value(row, "ground_truth", data)
    answer = _after(data.ground_truth_after, whole)
    if messages is None:
        return prompt_fault(prompt)
    # As text: the number 0 is a ground truth.
    if whole is None or not str(whole).strip():
        return "no ground truth"
    if answer is None or not str(answer).strip():
        return f"nothing after '{data.ground_truth_after}' in its ground truth"
    if abilities is not None and ability not in abilities:
        return f"no verifier for the ability '{ability}'; expected one of {', '.join(abilities)}"
    return {
        "prompt_id": _named(row, "prompt_id", data, defaults),
        "prompt": messages,
        "ability": ability,
        "ground_truth": answer if isinstance(answer, str) else json.dumps(answer),
        "data_source": _named(row, "data_source", data, defaults),
    }


def _named(row: Row, name: str, data: Data, defaults: dict[str, str]) -> str:
    """A row's name, as text; the number 0 is one, an empty text is none."""
    value = _value(row, name, data)
    return defaults[name] if value is None or value == "" else str(value)


def _demonstration(row: Row, data: Data) -> Row | str:
    """A row of DEMONSTRATIONS, or what is wrong with it."""
    prompt, response = _value(row, "prompt", data), _value(row, "response", data)
    if isinstance(response, list):
        said = conversation(response)
        if not said or said[-1]["role"] != "assistant":
            return "no response at the end of its conversation"
        # Both columns name the conversation: its last message would be asked as well as answered.
        prompt = said[:-1] if prompt == response else prompt
        response = said[-1]["content"]
    ability = ability_of(_value(row, "ability", data), "math")
    messages = as_messages(prompt, data, ability, _system(row, data))
    if messages is None:
        return prompt_fault(prompt)
    if not isinstance(response, str) or not response:
        return "no response"
    return {"prompt": merge_system(messages, data), "response": response}


def _value(row: Row, name: str, data: Data) -> Any:
    return value_of(row, data.columns.get(name, name))


def _system_column(data: Data) -> list[str]:
    """The column of system messages, read only where the settings name it."""
    return [data.columns["system"]] if "system" in data.columns else []


def _system(row: Row, data: Data) -> str | None:
    text = _value(row, "system", data) if "system" in data.columns else None
    return text if isinstance(text, str) else None


def _after(mark: str, answer: Any) -> Any:
    """The text after the last mark, None where there is none; without a mark the value itself."""
    if not mark:
        return answer
    # The last one: solutions box results on the way.
    _, found, text = answer.rpartition(mark) if isinstance(answer, str) else ("", "", "")
    if not found:
        return None
    return _in_braces(text) if mark == "\\boxed" else text.strip()


def _in_braces(text: str) -> str | None:
    """What the braces at the beginning hold: of "{\\frac{1}{2}} is it." it is "\\frac{1}{2}"."""
    depth = 0
    for index, sign in enumerate(text):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if depth == 0:
            return text[1:index].strip() if index else None
    return None


def quotation(row: Row) -> str:
    """How a row begins, for people who look for it in its file."""
    # default: parquet holds dates and bytes, which JSON does not.
    return json.dumps(row, ensure_ascii=False, default=str)[:_QUOTED]
