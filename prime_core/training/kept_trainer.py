"""Trainers that stay in their process from one iteration's update to the next.

In: the folder that an update continues from. Out: the trainer that has written this very folder,
where the process keeps one, else a new one. What is kept equals what would be loaded, bit for bit:
a folder is written from it, and it takes no step in between.

docs/decisions.md#kept-engines
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prime_core.run.input_digest import folder_digest
from prime_core.runtime import kept
from prime_core.runtime.console import note
from prime_core.training import distributed
from prime_core.training.engine import Trainer
from prime_core.training.state_place import free_loaded


@dataclass
class KeptTrainer:
    """made_of: what it was made of, beside the folder; digest: of the folder that it has written
    (on the first rank).
    """

    trainer: Trainer
    made_of: Mapping[str, Any]
    digest: str

    def rest(self) -> None:
        """Move it off the device; the ranks' updates are then over together."""
        self.trainer.offload()
        distributed.barrier()

    def end(self) -> None:
        """Free its device; its memory goes with the process, which ends with its stage."""
        self.rest()


def kept_or_new(
    folder: Path, state: Path | None, made_of: Mapping[str, Any], make: Callable[[], Trainer]
) -> Trainer:
    """The trainer that continues from a folder. make(): a new one.

    state: another folder that it shall continue from. made_of: settings and models that decide what
    `make` makes. Raises kept.Unfit where the process keeps another trainer than this one.
    """
    distributed.start_ranks()
    engine = kept.take()
    if engine is None:
        trainer = make()
    else:
        assert isinstance(engine, KeptTrainer), "a process trains one kind of model"
        # One rank's doubt is everybody's: their collective operations have to meet.
        why_not = next(
            filter(None, distributed.gather(_why_unfit(engine, folder, state, made_of))), None
        )
        if why_not is not None:
            raise kept.Unfit(why_not)
        trainer = engine.trainer
        trainer.reload()
        free_loaded(folder)
        note(f"{folder}: continuing in the engine that wrote it")
    trainer.made_of = made_of
    return trainer


def keep(trainer: Trainer, folder: Path) -> None:
    """Leave a trainer to the next update, in a process that keeps one; folder: what it wrote."""
    if kept.keeps() and trainer.made_of is not None:
        digest = folder_digest(folder) if distributed.rank() == 0 else ""
        kept.keep(KeptTrainer(trainer, trainer.made_of, digest))


def _why_unfit(
    engine: KeptTrainer, folder: Path, state: Path | None, made_of: Mapping[str, Any]
) -> str:
    if state is not None:
        return f"the update resumes from {state}"
    if engine.made_of != made_of:
        names = [name for name in made_of if engine.made_of.get(name) != made_of[name]]
        return f"it was made with other settings ({', '.join(names)})"
    if distributed.rank() == 0 and folder_digest(folder) != engine.digest:
        return f"{folder} is not what it has written"
    return ""
