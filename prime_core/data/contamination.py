"""Texts of the benchmarks that training problems are compared with (data.contamination)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prime_core.data.benchmarks import stream_benchmark
from prime_core.data.problems import Dropped, Problem, stream_problems
from prime_core.data.prompts import ability_of, conversation, problem_text
from prime_core.data.reading import BadLine, DataError, Row, stream_rows, value_of
from prime_core.data.text_matching import BenchmarkTexts
from prime_core.settings.data import Data
from prime_core.settings.run import Settings
from prime_core.storage.table_files import find_tables

Text = tuple[str, str, str]  # benchmark, prompt_id, the problem's text
# Where a table of data.contamination.files has its problems: the first of these that a row has.
_COLUMNS = ("prompt", "problem", "question", "question_content", "text")


def benchmark_texts(settings: Settings) -> BenchmarkTexts | None:
    """All problems of the benchmarks and further files; None where nothing is to be compared."""
    size = settings.data.contamination.ngram_size
    return BenchmarkTexts(_texts(settings), size) if size else None


def _texts(settings: Settings) -> Iterator[Text]:
    data = settings.data
    for name, benchmark in settings.evaluation.benchmarks.items():
        if benchmark.file != "validation":
            yield from _of_problems(name, stream_benchmark(benchmark, data))
        # Those held out by num_validation are no table of their own: HeldOut keeps equal texts
        # together.
        elif data.validation is not None:
            yield from _of_problems(name, stream_problems(data.validation, "validation", data))
    for location in data.contamination.files:
        yield from _of_file(location, data)


def _of_problems(name: str, found: Iterator[Problem | Dropped]) -> Iterator[Text]:
    """Its usable problems: malformed ones are not evaluated either."""
    num_texts, first = 0, None
    for one in found:
        if isinstance(one, Problem):
            num_texts += 1
            yield name, one.row["prompt_id"], one.text
        else:
            first = first or one
    # Otherwise a benchmark that cannot be read would match nothing, and nobody would know.
    if not num_texts and first:
        raise DataError(
            f"evaluation.benchmarks.{name} ({first.source}): holds no problem to compare training "
            f"problems with; row {first.row}: {first.detail}: {first.quote}"
        )


def _of_file(location: str, data: Data) -> Iterator[Text]:
    """Problems of a file, whatever their column's name; ground truths are not needed."""
    columns = tuple(dict.fromkeys((data.columns.get("prompt", "prompt"), *_COLUMNS)))
    num_texts = 0
    for number, row in enumerate(stream_rows(find_tables(location, "benchmark"), {})):
        messages = None if isinstance(row, BadLine) else conversation(_first(row, columns))
        if isinstance(row, BadLine) or messages is None:
            continue
        num_texts += 1
        ability = ability_of(value_of(row, data.columns.get("ability", "ability")), "math")
        yield Path(location).name, str(number), problem_text(messages, data, ability)
    if not num_texts:
        raise DataError(
            f"{location}: no column with problems to compare with (data.contamination.files); "
            f"looked for {', '.join(columns)}"
        )


def _first(row: Row, columns: tuple[str, ...]) -> object:
    values = (value_of(row, name) for name in columns)
    return next((value for value in values if value), None)
