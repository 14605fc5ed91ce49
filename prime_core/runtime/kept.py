"""What a process keeps from one stage to the next: engines, in a process that runs many stages.

An ordinary process runs one stage and keeps nothing. A worker of the resident process
(prime_core.resident.worker) says so with `begin`; its stage then leaves an engine behind, and the
next stage takes it, if it is what that stage would have made.

docs/decisions.md#kept-engines
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Engine(Protocol):
    """A model on a device, with all that belongs to it."""

    def rest(self) -> None:
        """Give back the memory of the device until the next stage takes it."""

    def end(self) -> None:
        """Free all that it holds."""


class Unfit(BaseException):
    """What this process keeps is not what the stage needs: a fresh process has to run it.

    No Exception: nothing between here and the worker may handle it.
    """


@dataclass
class _Kept:
    keeps: bool = False
    rests: bool = False
    engine: Engine | None = None
    meeting_place: Path | None = None


_kept = _Kept()


def begin(meeting_place: Path) -> None:
    """Keep engines from now on. meeting_place: file by which this stage's ranks find each other."""
    _kept.keeps, _kept.rests, _kept.meeting_place = True, True, meeting_place


def keeps() -> bool:
    """Whether an engine is kept: this process runs more stages, or this stage asks again."""
    return _kept.keeps


def rests() -> bool:
    """Whether what is kept gives its device back in between, to stages of other processes."""
    return _kept.rests


def meeting_place() -> Path | None:
    """Where ranks meet that stay together; None: where their launcher says."""
    return _kept.meeting_place


def keep(engine: Engine) -> None:
    """Leave an engine to the next stage, in place of any other."""
    if _kept.keeps:
        _kept.engine = engine


def take() -> Engine | None:
    """What the stage before has left; from now on it is this stage's."""
    engine, _kept.engine = _kept.engine, None
    return engine


@contextmanager
def meanwhile() -> Iterator[None]:
    """Keep the engine from one call of a sampler to the next, within one stage.

    Afterwards it ends, unless the process keeps engines anyway.
    """
    if _kept.keeps:
        yield
        return
    _kept.keeps = True
    try:
        yield
    finally:
        _kept.keeps = False
        engine = take()
        if engine is not None:
            engine.end()


def rest() -> None:
    """Let what is kept give its device back: the stage has ended."""
    if _kept.engine is not None:
        _kept.engine.rest()
