"""A line of `prime doctor`, and asking for many of them at once, each within its time.

In: probes, functions that look at one thing. Out: findings in the probes' order. A probe that
raises, or does not answer in time, is a finding as well: a file system that hangs or a library
that does not load must not hide what the others say.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One line. needed: without it no run works; else what is missing is only said.

    todo: what to do about it; "" where nothing is.
    """

    name: str
    state: State
    detail: str
    todo: str = ""
    needed: bool = True

    @property
    def fails(self) -> bool:
        """Whether a run would not work: what is wrong, or missing and needed."""
        return self.state == "wrong" or (self.state == "missing" and self.needed)


@dataclass(frozen=True)
class Probe:
    """look() gives the findings of one thing; seconds: how long it may take."""

    name: str
    look: Callable[[], Finding | list[Finding]]
    seconds: float = 10.0


def examine(
    probes: Sequence[Probe], waiting: Callable[[str, float], object] = lambda _name, _left: None
) -> Iterator[Finding]:
    """The findings of all probes, which run side by side, in their order.

    waiting(name, seconds left) is called several times a second while a probe has not answered.
    """
    running = [_Running(probe) for probe in probes]
    for one in running:
        while not one.done.wait(0.2):
            left = one.probe.seconds - (time.monotonic() - one.began)
            if left <= 0:
                break
            waiting(one.probe.name, left)
        yield from one.findings()


class _Running:
    """A probe in a thread; a daemon, since one that hangs must not keep the process."""

    def __init__(self, probe: Probe) -> None:
        self.probe, self.began = probe, time.monotonic()
        self.done = threading.Event()
        self._found: list[Finding] = []
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        name = self.probe.name
        try:
            found = self.probe.look()
            self._found = [found] if isinstance(found, Finding) else found
        # Whatever it is: a doctor that falls ill names the place and examines on.
        except Exception as error:
            self._found = [Finding(name, "wrong", f"could not be examined: {one_line(error)}")]
        self.done.set()

    def findings(self) -> list[Finding]:
        if self.done.is_set():
            return self._found
        return [Finding(self.probe.name, "wrong", f"no answer within {self.probe.seconds:.0f} s")]


def one_line(error: BaseException) -> str:
    """An error as one line: its kind, and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
