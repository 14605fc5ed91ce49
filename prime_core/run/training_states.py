"""Training states that an update left in memory: written to disk, or found to be lost.

In: a run's settings and files. Out: states on disk; weights whose state is gone are removed, so
that the workflow makes their update again. A mark in the folder of weights says that its state is
in memory; where there is none, an absent state is what the user wanted.
docs/decisions.md#states-in-memory
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from prime_core.run.atomic import atomic_folder
from prime_core.run.layout import TRAINING_STATE, RunFiles
from prime_core.runtime.console import note
from prime_core.settings.run import Settings
from prime_core.storage import state_memory


class StateLost(ValueError):
    """Memory has no training state of these weights any more."""


def save_state(folder: Path) -> int:
    """Copy the state of a folder of weights from memory into it, whole or not at all; its bytes.

    0 where it is there: memory had no room for it, or an earlier start has copied it.
    """
    size = 0
    if not (folder / TRAINING_STATE).is_dir():
        entry = state_memory.find(folder)
        if entry is None:
            raise StateLost(
                f"{folder}: its training state was in {_where(folder)} and is gone; the same "
                "command again makes that update once more"
            )
        # Filled beside the weights: a reader of the folder, a branch perhaps, must not see a part.
        with atomic_folder(folder / TRAINING_STATE, aside=folder.parent) as copy:
            size = state_memory.copy(entry / TRAINING_STATE, copy)
    (folder / state_memory.MARK).unlink(missing_ok=True)
    return size


def save_all(settings: Settings, files: RunFiles) -> None:
    """Write down what is in memory alone: the end of an allocation."""
    for folder in _in_memory_alone(settings, files):
        if state_memory.find(folder):
            note(f"{folder}: its training state goes to disk")
            save_state(folder)


def remove_lost(settings: Settings, files: RunFiles) -> bool:
    """Remove weights whose state was lost with a machine's memory; whether there were any."""
    lost = [one for one in _in_memory_alone(settings, files) if not state_memory.find(one)]
    for folder in lost:
        note(
            f"{folder}: its training state was in {_where(folder)} and is gone: that update is "
            "made again"
        )
        shutil.rmtree(folder)
    return bool(lost)


def _in_memory_alone(settings: Settings, files: RunFiles) -> Iterator[Path]:
    for iteration in settings.own_iterations:
        for folder in files.trained(iteration, settings.trained):
            marked = (folder / state_memory.MARK).exists()
            if marked and not (folder / TRAINING_STATE).is_dir():
                yield folder


def _where(folder: Path) -> str:
    try:
        return f"the memory of {(folder / state_memory.MARK).read_text(encoding='utf-8').strip()}"
    except FileNotFoundError:
        return "a machine's memory"
