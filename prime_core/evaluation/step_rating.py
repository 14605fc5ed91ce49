"""Scores of the steps of published solutions under a PRM, and their figures: for runs and by hand.

In: files of solutions (prime_core.data.solutions) by name, a PRM and its reference. Out: a table
of RATED_STEPS, and figures of each part (prime_core.evaluation.step_figures).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prime_core.data.solutions import read_solutions
from prime_core.evaluation.step_figures import Figures, Part, step_figures
from prime_core.run.records import Made
from prime_core.run.tables import RATED_STEPS, write_table
from prime_core.runtime.console import note
from prime_core.runtime.rank import is_first_rank
from prime_core.settings.evaluation import GENERATED
from prime_core.settings.run import Settings
from prime_core.training.step_scores import rate_solutions

Row = dict[str, Any]
_QUOTED = 3  # malformed rows that are quoted


@dataclass(frozen=True)
class Solutions:
    """Files of solutions by the name of their part, and how they are read.

    columns: our name -> the files'. key: where columns came from, {} for our name. chosen_on: the
    part on which thresholds are chosen. num_rows: of each file, from the first on; None: all.
    asked: a problem's messages -> as the models are given them. generated: the solutions of a part
    whose file is `generated`, by the part's name and number of rows.
    """

    files: Mapping[str, str]
    columns: dict[str, str]
    key: str
    chosen_on: str
    num_rows: int | None
    asked: Callable[[list[dict[str, str]]], list[dict[str, str]]]
    generated: Callable[[str, int | None], list[Row]] | None = None


def rate_steps(
    given: Solutions,
    prm: Path,
    reference: Path,
    settings: Settings,
    table: Path,
    made: Made | None = None,
) -> dict[str, Figures]:
    """Write the scores of all steps to a table. Returns the figures of each part.

    made: the run whose table it is, and what it was made from.
    """
    rows: list[Row] = []
    malformed: dict[str, int] = {}
    for part, file in given.files.items():
        usable, faults = _solutions(given, part, file)
        for text in faults[:_QUOTED]:
            note(f"{file}: left out: {text}")
        malformed[part] = len(faults)
        rows += [row | {"part": part, "prompt": given.asked(row["prompt"])} for row in usable]
    rated = rate_solutions(rows, prm, reference, settings)
    parts = {part: _part([row for row in rated if row["part"] == part]) for part in given.files}
    # A part whose solutions are all too long has no figures, and no threshold can be chosen on it.
    kept = {name: part for name, part in parts.items() if part.labels}
    figures = step_figures(kept, given.chosen_on if given.chosen_on in kept else next(iter(kept)))
    for name, values in figures.items():
        asked = sum(row["part"] == name for row in rows)
        values["num_malformed"] = malformed[name]
        values["num_too_long"] = asked - values["num_solutions"]
    if is_first_rank():
        write_table(table, [_flat(row) for row in rated], RATED_STEPS, made)
    return figures


def _solutions(given: Solutions, part: str, file: str) -> tuple[list[Row], list[str]]:
    """Usable rows, and what is wrong with the others."""
    if file == GENERATED and given.generated is not None:
        return given.generated(part, given.num_rows), []
    return read_solutions(file, given.columns, given.key, given.num_rows)


def _part(rows: list[Row]) -> Part:
    names = rows[0]["scores"] if rows else {}
    return Part(
        labels=[row["label"] for row in rows],
        answer_correct=[row["final_answer_correct"] for row in rows],
        scores={name: [row["scores"][name] for row in rows] for name in names},
    )


def _flat(row: Row) -> Row:
    columns = ("part", "id", "label", "final_answer_correct", "step_ends")
    scores = {f"{name}_scores": values for name, values in row["scores"].items()}
    return {name: row[name] for name in columns} | scores
