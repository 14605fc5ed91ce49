"""Stage `prepare`: the run's tables of problems and demonstrations.

In: settings (data, evaluation.benchmarks), models/base (its tokenizer counts prompt tokens).
Out: data/{train,validation,demonstrations}.parquet, data/dropped.parquet (every row left out, and
why), metrics/prepare.json. With data.difficulty the training problems are candidates until the
start model has tried them: data/candidates.parquet instead of train.parquet.

Rows are read, screened and written in batches: a table may be larger than memory.

docs/decisions.md#dropped-rows
docs/decisions.md#split-by-hash
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from prime_core.data.contamination import benchmark_texts
from prime_core.data.problems import DataError, Dropped, Problem
from prime_core.data.screening import Screen
from prime_core.data.sources import demonstrations, held_out_problems, training_problems
from prime_core.data.text_matching import HeldOut
from prime_core.models.conversation import ObservationTokens
from prime_core.models.load import load_tokenizer
from prime_core.models.prompts import PromptRefused, prompt_lengths
from prime_core.run.layout import RunFiles
from prime_core.run.records import Made, checked_weights
from prime_core.run.tables import DEMONSTRATIONS, DROPPED, PROMPTS, table_writer
from prime_core.run.work import finish, open_run
from prime_core.runtime.console import note
from prime_core.runtime.locks import only_one
from prime_core.runtime.stopwatch import Metrics
from prime_core.settings.run import Settings

Row = dict[str, Any]
Write = Callable[[list[Row]], None]
T = TypeVar("T")
_ROWS_AT_A_TIME = 2048
_SHOWN = 5  # malformed rows in the log; all of them are in the table
_ALWAYS = (  # counts that are in the figures even where nothing is left out
    *("num_demonstrations", "num_malformed", "num_train_duplicate", "num_train_in_benchmark"),
    *("num_train_too_long", "num_validation_too_long"),
)


def run(run_dir: Path) -> None:
    """Write the run's data tables."""
    settings, files = open_run(run_dir)
    with only_one(files.train, run_dir):
        begun = time.monotonic()
        with table_writer(files.dropped, DROPPED, Made(files.root)) as drop:
            preparation = Preparation(settings, files, drop)
            preparation.demonstrations()
            preparation.problems()
        counts = preparation.counts
        metrics: Metrics = {f"data/{name}": count for name, count in sorted(counts.items())}
        metrics["timing_s/prepare"] = time.monotonic() - begun
        finish(files.setup_metrics("prepare"), metrics, _line(counts))


class Preparation:
    """The tables of one run, and what is counted on the way."""

    def __init__(self, settings: Settings, files: RunFiles, drop: Write) -> None:
        """drop: takes rows of DROPPED. counts: "num_train", "num_train_too_long", ..."""
        self.settings, self.files, self._drop = settings, files, drop
        self.counts = Counter[str](dict.fromkeys(_ALWAYS, 0))
        base = checked_weights(files.base_model, files.root)
        self._tokenizer = load_tokenizer(base)
        if settings.data.env is not None:
            ObservationTokens(self._tokenizer, base)  # refuses a template that cannot be continued

    def demonstrations(self) -> None:
        """Write the demonstrations."""
        files = self.files
        with table_writer(files.demonstrations, DEMONSTRATIONS, Made(files.root)) as write:
            for found in chunks(demonstrations(self.settings)):
                rows = [one for one in found if not isinstance(one, Dropped)]
                self._leave_out("demonstrations", [x for x in found if isinstance(x, Dropped)])
                self.counts["num_demonstrations"] += len(rows)
                write(rows)

    def problems(self) -> None:
        """Write held-out and training problems."""
        settings, data, files = self.settings, self.settings.data, self.files
        target = files.train if data.difficulty is None else files.candidates
        apart = HeldOut[Row](data.num_validation if data.source == "files" else 0)
        with (
            # The last to be renamed into place.
            table_writer(target, PROMPTS, Made(files.root)) as write,
            table_writer(files.validation, PROMPTS, Made(files.root)) as hold_out,
        ):
            # No screen: nobody trains on held-out problems, and they may well be a benchmark's.
            for some in chunks(self._usable("validation", held_out_problems(settings), None)):
                self._count("validation", [one.row for _, one in some], hold_out)
            found = self._usable("train", training_problems(settings), self._screen())
            for some in chunks(found):
                rows = [row for key, one in some for row in apart.offer(key, one.row)]
                self._count("train", rows, write)
            self._count("validation", apart.rows(), hold_out)
            # Still inside the writers: raised here, neither table of problems comes into being.
            self._refuse_empty()

    def _usable(
        self, split: str, found: Iterable[Problem | Dropped], screen: Screen | None
    ) -> Iterator[tuple[int, Problem]]:
        """Problems that are left, with their texts' keys (0 without a screen)."""
        longest = self.settings.data.max_prompt_length
        for some in chunks(found):
            dropped = [one for one in some if isinstance(one, Dropped)]
            problems = [one for one in some if isinstance(one, Problem)]
            looked = [(screen.look(one) if screen else (0, None), one) for one in problems]
            dropped += [reason for (_, reason), _ in looked if reason is not None]
            # Lengths last, of what is left, and many at once: tokenising is the slow part.
            left = [(key, one) for (key, reason), one in looked if reason is None]
            lengths = prompt_lengths(self._tokenizer, [one.row["prompt"] for _, one in left])
            for (key, one), length in zip(left, lengths, strict=True):
                if isinstance(length, PromptRefused):
                    # Where system messages are refused, it is no single row that is wrong.
                    if one.row["prompt"][0]["role"] == "system":
                        raise length
                    dropped.append(one.dropped("malformed", str(length)))
                elif length <= longest:
                    yield key, one
                else:
                    dropped.append(one.dropped("too_long", f"{length} tokens"))
            self._leave_out(split, dropped)

    def _screen(self) -> Screen | None:
        """What training problems are compared with; generated ones differ from one another."""
        data = self.settings.data
        if data.source != "files":
            return None
        texts = benchmark_texts(self.settings)
        for name in texts.benchmarks if texts else ():
            self.counts[f"num_in_benchmark/{name}"] = 0
        return Screen(data.deduplicate, texts)

    def _count(self, split: str, rows: list[Row], write: Write) -> None:
        self.counts[f"num_{split}"] += len(rows)
        for row in rows:
            self.counts[f"num_{split}/{row['ability']}"] += 1
        write(rows)

    def _leave_out(self, split: str, dropped: list[Dropped]) -> None:
        for one in dropped:
            self.counts[f"num_{split}_{one.reason}"] += 1
            if one.reason == "malformed":
                self.counts["num_malformed"] += 1
                if self.counts["num_malformed"] <= _SHOWN:
                    where = f"{one.source}: row {one.row}"
                    note(f"{where} left out: {one.detail}: {one.quote.strip()}")
            if one.reason == "in_benchmark":
                self.counts[f"num_in_benchmark/{one.detail.partition('/')[0]}"] += 1
        self._drop([{"split": split, **vars(one)} for one in dropped])

    def _refuse_empty(self) -> None:
        data = self.settings.data
        for split in ("train", "validation"):
            if self.counts[f"num_{split}"]:
                continue
            source = getattr(data, split) or ", ".join(data.sources) or data.source
            reasons = (
                f"{self.counts[f'num_{split}_{reason}']} {reason.replace('_', ' ')}"
                for reason in ("malformed", "duplicate", "in_benchmark", "too_long")
            )
            raise DataError(
                f"data.{split} ({source}) holds no usable problem; expected at least one; left "
                f"out: {', '.join(reasons)} (data.max_prompt_length {data.max_prompt_length})"
            )


def chunks(items: Iterable[T], size: int = _ROWS_AT_A_TIME) -> Iterator[list[T]]:
    """Lists of `size` items, the last one shorter."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _line(counts: Counter[str]) -> str:
    left_out = ", ".join(
        f"{counts[f'num_train_{reason}']} {words}"
        for reason, words in (
            ("duplicate", "duplicate"),
            ("in_benchmark", "in benchmarks"),
            ("too_long", "too long"),
        )
        if counts[f"num_train_{reason}"]
    )
    return (
        f"prepare: {counts['num_train']} training and {counts['num_validation']} held-out "
        f"problems, {counts['num_demonstrations']} demonstrations; "
        f"{counts['num_malformed']} malformed rows left out"
        f"{left_out and f'; of the training problems {left_out}'}"
    )
