"""Stopping between a stage's steps and resuming there: its progress, kept on disk.

In: an update, which is a trainer and the figures of its steps so far; the plan of its steps. Out:
beside the stage's output a folder .<output>.unfinished with training_state/, figures of each rank
and about.json. It is written aside and renamed, when a signal asks the stage to stop and every
training.checkpoint_minutes, and goes away when the output is in place. One that does not fit, or is
damaged, is never used.

docs/decisions.md#step-checkpoints
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from prime_core.run.input_digest import input_digest
from prime_core.run.layout import unfinished_folder
from prime_core.runtime.console import note, progress_bar
from prime_core.runtime.errors import naming_the_disk
from prime_core.runtime.interruption import Interrupted, stop_requested, stopping_at_checkpoints
from prime_core.runtime.stopwatch import Stopwatch
from prime_core.settings.run import Settings
from prime_core.training.distributed import (
    barrier,
    gather,
    rank,
    shared_folder,
    start_ranks,
    world_size,
)
from prime_core.training.engine import Trainer
from prime_core.training.state_files import digests
from prime_core.training.universal import NoRoom

_ABOUT = "about.json"


class Update(Protocol):
    """Optimizer steps.

    figures: of the steps so far: lists, numbers, tensors, the same on all ranks, except for "sums",
    each rank's part of totals.
    """

    trainer: Trainer
    figures: dict[str, Any]

    def step(self, rows: list[int]) -> None:
        """One optimizer step on these rows."""


U = TypeVar("U", bound=Update)


class StepCheckpoint:
    """The steps of one stage, which can be interrupted between any two."""

    def __init__(
        self, output: Path, inputs: Sequence[Path], settings: Settings, watch: Stopwatch
    ) -> None:
        """inputs: what the output depends on, apart from the settings."""
        start_ranks()
        self.folder, self.num_done = unfinished_folder(output), 0
        self._digest = input_digest(settings, inputs)
        # 0 means none by the clock, not one after every step.
        self._save_seconds = 60 * settings.training.checkpoint_minutes or float("inf")
        self._saved_at, self._watch = time.monotonic(), watch

    def resume(self, make: Callable[[Path | None], U]) -> U:
        """The update as an earlier start of the stage left it, else a fresh one.

        make(state): an update whose trainer continues from the training state in this folder.
        """
        # The first rank's view counts: a shared disk may show others an older one, and ranks that
        # decided differently would wait for each other forever.
        looked = (self.folder.exists(), self._why_unusable()) if rank() == 0 else (False, "")
        there, why_not = gather(looked)[0]
        if there and not why_not:
            try:
                update = make(self.folder)
                # Inside the try: figures can be damaged as well as weights.
                update.figures |= self._kept_figures()
            except NoRoom:
                raise  # the checkpoint is intact, and worth making room for
            except Exception as error:  # torch and DeepSpeed raise all kinds here
                why_not = f"it does not load ({type(error).__name__}: {error})"
            # One rank's failure is everybody's: ranks at different steps would wait for each other.
            why_not = next(filter(None, gather(why_not)), "")
        if why_not:
            update = make(None)
            if there:  # only now: the model loaded, so the checkpoint itself was at fault
                self._discard(why_not)
            return update
        about = json.loads((self.folder / _ABOUT).read_text(encoding="utf-8"))
        self.num_done, self._watch.seconds = about["num_done"], about["seconds"]
        note(f"{self.folder}: resuming after step {self.num_done}")
        return update

    @contextmanager
    def until_output(self) -> Iterator[None]:
        """From the first step until the output is in place, which removes the checkpoint.

        Within, a signal waits for the end of a step.
        """
        with stopping_at_checkpoints():
            self._saved_at = time.monotonic()  # a kill before now costs no more than the loading
            yield
            # Not in a finally: after an error or a stop the next start needs the checkpoint.
            if rank() == 0:
                shutil.rmtree(self.folder, ignore_errors=True)

    def take_steps(self, update: Update, plan: Sequence[list[int]], description: str) -> None:
        """Take the remaining steps of the plan. Raises Interrupted, with everything saved."""
        with progress_bar(len(plan), "step", description) as bar:
            bar.update(self.num_done)
            for rows in plan[self.num_done :]:
                update.step(rows)
                self.num_done += 1
                bar.update()
                if self.num_done < len(plan):  # after the last step the output itself is written
                    self._save_where_due(update, len(plan))

    def _save_where_due(self, update: Update, num_steps: int) -> None:
        """Save when it is time to, or when any of the ranks was asked to stop."""
        due = time.monotonic() - self._saved_at > self._save_seconds
        # Signals reach ranks at different moments, and saving needs all of them at the same step.
        told, dues = zip(*gather((stop_requested(), due)), strict=True)
        if any(told) or any(dues):
            self._save(update)
        if any(told):
            raise Interrupted(
                f"stopped at step {self.num_done} of {num_steps}; the next start resumes there"
            )

    def _save(self, update: Update) -> None:
        with naming_the_disk(self.folder), shared_folder(self.folder) as folder:
            # The state alone: its weights are exact, and a Hugging Face copy would double the bytes
            # to write in the grace time of a signal. docs/decisions.md#step-checkpoints
            update.trainer.save_state(folder)
            torch.save(update.figures, _figures(folder, rank()))
            barrier()
            if rank() == 0:  # last, since it lists what all ranks have written
                about = {
                    "digest": self._digest,
                    "num_ranks": world_size(),
                    "num_done": self.num_done,
                    "seconds": self._watch.so_far(),  # so that figures cover all starts
                    "files": _files(folder),
                }
                (folder / _ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        # From the end of the saving, or a disk slower than the interval would be written to after
        # every step.
        self._saved_at = time.monotonic()

    def _why_unusable(self) -> str:
        """Why the checkpoint cannot be used; "" where it can."""
        try:
            about = json.loads((self.folder / _ABOUT).read_text(encoding="utf-8"))
            # The folder was renamed whole, but a disk that was full or lost power may hold less.
            if about["files"] != _files(self.folder):
                return "it is damaged"
            if about["digest"] != self._digest:
                return "it is of other settings or inputs"
        # Also where there is no checkpoint at all: `resume` then says nothing.
        except (OSError, ValueError, KeyError):
            return "it is damaged"
        return ""

    def _discard(self, why: str) -> None:
        note(f"{self.folder} is discarded: {why}; starting from the first step")
        if rank() == 0:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _kept_figures(self) -> dict[str, Any]:
        about = json.loads((self.folder / _ABOUT).read_text(encoding="utf-8"))
        # Each rank its own part, so that sums add up in the same order as without an interruption.
        if about["num_ranks"] == world_size():
            return dict(torch.load(_figures(self.folder, rank()), weights_only=True))
        files = [_figures(self.folder, number) for number in range(about["num_ranks"])]
        parts = [torch.load(file, weights_only=True) for file in files]
        return parts[0] | (
            {"sums": redistributed_sums(parts, rank())} if "sums" in parts[0] else {}
        )


def redistributed_sums(parts: Sequence[dict[str, Any]], number: int) -> dict[str, float]:
    """This rank's sums from those of another number of ranks: the first takes all of them."""
    names = sorted(set().union(*(part["sums"] for part in parts)))
    return {
        name: sum(part["sums"].get(name, 0.0) for part in parts) if number == 0 else 0.0
        for name in names
    }


def _figures(folder: Path, number: int) -> Path:
    return folder / f"figures-{number}.pt"


def _files(folder: Path) -> dict[str, str]:
    # about.json holds this list, so it cannot be in it.
    return {name: digest for name, digest in digests(folder).items() if name != _ABOUT}
