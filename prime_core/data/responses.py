"""Responses to a benchmark's problems from users' own files: parquet or JSON lines, any names.

In: rows with response (a text, or a list of texts: several samples) and what identifies the
problem: prompt_id, or prompt (the problem's text); score where the responses are scored. Out: rows
of prompt_id, sample, text, finish_reason, response_length (both unknown), score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.data.reading import DataError, Row, has_column, read_rows, value_of

NAMES = ("prompt_id", "prompt", "response", "score")
KEY = "--column"


def read_responses_to(problems: pd.DataFrame, path: Path, columns: dict[str, str]) -> list[Row]:
    """Responses to the problems, in the order of the problems; samples in the file's order.

    columns: our name -> the file's. A problem may have no response; a response that belongs to no
    problem is refused. Raises DataError naming the file, the row and the column.
    """
    table = read_rows(path)
    _check_columns(table, columns, path)
    order = {prompt_id: index for index, prompt_id in enumerate(problems["prompt_id"])}
    texts: dict[str, str] = {}
    for prompt_id, text in zip(problems["prompt_id"], problems["text"], strict=True):
        # A text that the benchmark holds twice means its first problem.
        texts.setdefault(_normal(text), prompt_id)
    found: list[Row] = []
    samples: Counter[str] = Counter()
    for number, row in enumerate(table, start=1):
        values = {name: value_of(row, columns.get(name, name)) for name in NAMES}
        where = f"{path}: row {number}"
        prompt_id = _problem_of(values, order, texts, where)
        for text, score in _pairs(values, where):
            one = {"prompt_id": prompt_id, "sample": samples[prompt_id], "text": text}
            one |= {"finish_reason": None, "response_length": None}
            found.append(one | ({} if score is None else {"score": score}))
            samples[prompt_id] += 1
    # Best-of-n over some of a problem's responses would be a figure of another n.
    num_scored = sum("score" in row for row in found)
    if num_scored not in (0, len(found)):
        raise DataError(
            f"{path}: {num_scored} of {len(found)} responses have a score; expected all or none"
        )
    return sorted(found, key=lambda row: (order[row["prompt_id"]], row["sample"]))


def _check_columns(table: list[Row], columns: dict[str, str], path: Path) -> None:
    unknown = sorted(set(columns) - set(NAMES))
    if unknown:
        raise DataError(f"{KEY} {unknown[0]}: no such column; expected one of {NAMES}")
    there = {
        name for name in NAMES if any(has_column(row, columns.get(name, name)) for row in table)
    }
    named = sorted(set(columns) - there)
    missing = named or ([] if "response" in there else ["response"])
    if not missing and not there & {"prompt_id", "prompt"}:
        missing = ["prompt_id (or prompt)"]
    if missing:
        seen = sorted({name for row in table[:100] for name in row})
        raise DataError(
            f"{path}: a column {missing[0]} is missing; found {seen}; name the file's own column "
            f"in {KEY} {missing[0].split()[0]}=THEIRS"
        )


def _problem_of(values: Row, order: dict[str, int], texts: dict[str, str], where: str) -> str:
    """prompt_id of the problem that a row is about."""
    given = values["prompt_id"]
    if given is not None:
        if str(given) not in order:
            raise DataError(
                f"{where}: prompt_id {str(given)!r} is not one of the benchmark's problems"
            )
        return str(given)
    text = values["prompt"]
    if not isinstance(text, str) or _normal(text) not in texts:
        raise DataError(f"{where}: not one of the benchmark's problems: {str(text)[:60]!r}")
    return texts[_normal(text)]


def _pairs(values: Row, where: str) -> Iterator[tuple[str, float | None]]:
    """Each response of a row with its score."""
    responses, scores = values["response"], values["score"]
    responses = responses if isinstance(responses, list) else [responses]
    scores = scores if isinstance(scores, list) else [scores] * len(responses)
    if len(scores) != len(responses):
        raise DataError(f"{where}: {len(scores)} scores for {len(responses)} responses")
    for response, score in zip(responses, scores, strict=True):
        if not isinstance(response, str):
            raise DataError(f"{where}: a response is not text: {str(response)[:60]!r}")
        yield response, _number(score, where)


def _number(score: Any, where: str) -> float | None:
    """A score; one wrapped in a list counts too, since reward models return them like that."""
    while isinstance(score, list) and len(score) == 1:
        score = score[0]
    if score is None or (isinstance(score, int | float) and score == score):
        return None if score is None else float(score)
    raise DataError(f"{where}: a score is not a number: {score!r}")


def _normal(text: str) -> str:
    """A problem's text with white space normalised."""
    return " ".join(text.split())
