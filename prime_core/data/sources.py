"""Where a run's problems come from: users' tables, generated sums, or an environment.

In: settings (data). Out: problems and demonstrations as streams of rows, and of rows that are
malformed, with progress bars.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from prime_core.data import arithmetic, episodes
from prime_core.data.problems import (
    DataError,
    Dropped,
    Problem,
    as_messages,
    problem_text,
    stream_demonstrations,
    stream_problems,
)
from prime_core.data.prompts import Messages, merge_system
from prime_core.data.reading import num_rows
from prime_core.run.seeds import derive_seed
from prime_core.runtime.console import note, progress_bar
from prime_core.settings.data import Data, Difficulty
from prime_core.settings.run import Settings
from prime_core.settings.verification import ABILITIES
from prime_core.storage.table_files import find_tables, is_on_hub

Row = dict[str, Any]
T = TypeVar("T")


def training_problems(settings: Settings) -> Iterator[Problem | Dropped]:
    """Training problems of all sources, one source after the other."""
    data = settings.data
    if data.env is not None:
        yield from episodes.problems(settings, "train")
        return
    if data.source == "arithmetic":
        yield from _generated(settings, "train")
        return
    if data.train is not None:
        found = stream_problems(data.train, "train", data, abilities=ABILITIES)
        yield from _with_progress(found, data.train, "train")
    for name, source in data.sources.items():
        update = {"columns": source.columns, "ground_truth_after": source.ground_truth_after}
        found = stream_problems(
            source.file,
            "train",
            data.model_copy(update=update),
            name=name,
            ability=source.ability,
            abilities=ABILITIES,
        )
        yield from _with_progress(found, source.file, "train")


def held_out_problems(settings: Settings) -> Iterator[Problem | Dropped]:
    """Held-out problems of their own table; none where they are split off later."""
    data = settings.data
    if data.env is not None:
        yield from episodes.problems(settings, "validation")
    elif data.source == "arithmetic":
        yield from _generated(settings, "validation")
    elif data.validation is not None:
        found = stream_problems(data.validation, "validation", data, abilities=ABILITIES)
        yield from _with_progress(found, data.validation, "validation")


def demonstrations(settings: Settings) -> Iterator[Row | Dropped]:
    """Demonstrations; none where the settings name none."""
    data, task = settings.data, settings.data.arithmetic
    if data.env is not None:
        yield from episodes.demonstrations(settings)
        return
    if data.source == "files":
        if data.sft is not None:
            yield from _with_progress(stream_demonstrations(data.sft, data), data.sft, "sft")
        return
    rows = arithmetic.demonstrations(
        # Of training sums alone: a demonstrated sum would no longer be held out.
        _sums(settings)["train"],
        num_demonstrations=task.num_demonstrations,
        guess_share=task.guess_share,
        guess_accuracy=task.guess_accuracy,
        max_error=task.max_error,
        slip_share=task.slip_share,
        cancel_share=task.cancel_share,
        seed=derive_seed(settings.seed, "demonstrations"),
    )
    for row in rows:
        yield row | {"prompt": _asked(row["prompt"], data)}


def _generated(settings: Settings, split: str) -> Iterator[Problem]:
    for number, row in enumerate(_sums(settings)[split]):
        asked = row | {"prompt": _asked(row["prompt"], settings.data)}
        text = problem_text(asked["prompt"], settings.data, row["ability"])
        yield Problem(asked, text, settings.data.source, number)


def _asked(text: str, data: Data) -> Messages:
    messages = as_messages(text, data)
    assert messages is not None  # a sum is a text that is not empty
    return merge_system(messages, data)


def _sums(settings: Settings) -> dict[str, list[Row]]:
    task = settings.data.arithmetic
    return arithmetic.problems(
        num_train=task.num_train,
        num_validation=task.num_validation,
        max_number=task.max_number,
        min_terms=task.min_terms,
        max_terms=task.max_terms,
        seed=derive_seed(settings.seed, "problems"),
    )


def _with_progress(found: Iterable[T], location: str, split: str) -> Iterator[T]:
    """The rows of one table, with a bar."""
    paths = find_tables(location, split)
    if is_on_hub(location):  # the log says of which commit
        note(f"{location}: {', '.join(map(str, paths))}")
    total = num_rows(paths)
    with progress_bar(total, "row", f"reading {Path(location).name}") as bar:
        for one in found:
            yield one
            bar.update()


def difficulty_settings(settings: Settings) -> Difficulty:
    """The settings of the trial. Raises DataError where there is none."""
    if settings.data.difficulty is None:
        raise DataError("data.difficulty is null: this run keeps its problems without a trial")
    return settings.data.difficulty
