"""The problems of a benchmark, whatever the form in which it was published.

In: its settings (evaluation.benchmarks.<name>) and the run's (data), which apply where it says
nothing. Out: problems as from any table of problems; malformed rows as Dropped.
"""

from __future__ import annotations

from collections.abc import Iterator

from prime_core.data.forms import FORMS, Fields, MalformedRow
from prime_core.data.problems import (
    DataError,
    Dropped,
    Problem,
    problem_of,
    quotation,
    stream_problems,
)
from prime_core.data.prompts import merge_system, problem_text
from prime_core.data.reading import BadLine, stream_rows
from prime_core.settings.data import Data
from prime_core.settings.evaluation import Benchmark
from prime_core.settings.verification import ABILITIES
from prime_core.storage.table_files import find_tables

SPLIT = "benchmark"


def stream_benchmark(chosen: Benchmark, data: Data) -> Iterator[Problem | Dropped]:
    """Problems of a benchmark's own table, in order; the malformed rows among them.

    Raises DataError naming file and column, or two rows with the same prompt_id.
    """
    ours = benchmark_data(chosen, data)
    if chosen.form == "plain":
        ability = chosen.ability or "math"
        return stream_problems(chosen.file, SPLIT, ours, ability=ability, abilities=ABILITIES)
    return _stream_form(chosen, ours)


def benchmark_data(chosen: Benchmark, data: Data) -> Data:
    """The run's settings of data with what the benchmark says of its own table.

    A benchmark's own suffix or system message replaces the run's files of them. If it has its own
    columns, its table is another, and the run's ground_truth_after does not apply to its answers.
    """
    update = {
        key: value
        for key in ("columns", "ground_truth_after", "system_prompt", "prompt_suffix")
        if (value := getattr(chosen, key)) is not None
    }
    if chosen.columns is not None:
        update.setdefault("ground_truth_after", "")
    if chosen.ability is not None:  # overrides the file's own column
        update["columns"] = {**update.get("columns", data.columns), "ability": ""}
    if chosen.system_prompt is not None:
        update["system_prompts"] = {}
    if chosen.prompt_suffix is not None:
        update["templates"] = {}
    return data.model_copy(update=update)


def _stream_form(chosen: Benchmark, data: Data) -> Iterator[Problem | Dropped]:
    form, paths = FORMS[chosen.form], find_tables(chosen.file, SPLIT)
    own = chosen.columns or {}  # data.columns describes files of the plain form
    required = {own.get(name, name): f"columns.{name}" for name in form.required}
    # A form gives its values under our names; mapping them again would look up the file's.
    plain = data.model_copy(update={"columns": {}, "ground_truth_after": ""})
    ability = chosen.ability or form.ability
    known: set[str] = set()
    for number, row in enumerate(stream_rows(paths, required)):
        if isinstance(row, BadLine):
            yield Dropped(chosen.file, number, "malformed", row.reason, row.quote[:200])
            continue
        defaults = {
            "prompt_id": f"{SPLIT}-{number:06d}",
            "ability": ability,
            "data_source": chosen.form,
        }
        try:
            values = form.read(Fields(row, own))
        except MalformedRow as error:
            yield Dropped(chosen.file, number, "malformed", str(error), quotation(row))
            continue
        found = problem_of(values, plain, defaults, ABILITIES)
        if isinstance(found, str):
            yield Dropped(chosen.file, number, "malformed", found, quotation(row))
            continue
        # Not merely left out: seeds and figures go by prompt_id, so two problems would become one.
        if found["prompt_id"] in known:
            raise DataError(f"{chosen.file}: prompt_id {found['prompt_id']!r} occurs twice")
        known.add(found["prompt_id"])
        text = problem_text(found["prompt"], plain, ability)
        found["prompt"] = merge_system(found["prompt"], plain)
        yield Problem(found, text, chosen.file, number)
