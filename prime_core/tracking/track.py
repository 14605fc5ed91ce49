"""`prime track`: mirrors the figures of a run into a tracker, while it goes or afterwards.

In: the run's folder. Out: points in the tracker, and tracking/<tracker>.jsonl, which says what has
been sent, so that a process that was killed continues. It reads what stages have written and no
stage knows of it.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

import click

from prime_core.report.points import Point, points_of
from prime_core.report.tables.collect import evaluation_table, iteration_table
from prime_core.run.layout import RunFiles
from prime_core.runtime.console import note, say
from prime_core.runtime.errors import first_line
from prime_core.settings.reading import flatten, load_settings
from prime_core.tracking import TRACKERS, Tracker

# Reading a long run's figures takes a while on a shared disk: it is then done less often.
_SHARE_OF_TIME = 0.05


@dataclass
class Sent:
    """What a tracker has been given: an identity for it, and names of points."""

    path: Path
    id: str = ""
    points: set[str] = field(default_factory=set)
    pending: dict[str, float] = field(default_factory=dict)  # not recorded yet: when it was sent

    def read(self) -> None:
        """What an earlier process sent; a new identity where there was none."""
        lines = self.path.read_text(encoding="utf-8").split("\n") if self.path.exists() else []
        for line in lines:
            try:
                value = json.loads(line)
            except json.JSONDecodeError:  # the first, which is empty; one torn by a kill
                continue
            self.id, sent = value.get("id", self.id), value.get("sent")
            self.points |= {sent} if sent else set()
        if not self.id:
            self.id = secrets.token_hex(6)
            self._add({"id": self.id})

    def add(self, point: Point) -> None:
        """One more, which a kill of this process may still lose."""
        self.points.add(point.name)
        self.pending[point.name] = time.monotonic()

    def settle(self, seconds: float) -> None:
        """Record what was sent that long ago. A kill before sends it twice, and loses nothing."""
        now = time.monotonic()
        for name in [name for name, at in self.pending.items() if now - at >= seconds]:
            del self.pending[name]
            self._add({"sent": name})

    def _add(self, value: dict[str, str]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(value))  # in front, so that it ends a torn line
            file.flush()
            os.fsync(file.fileno())


def run(run_dir: Path, to: str, project: str, once: bool, interval: float) -> None:
    """Send what the tracker lacks, and with `once` no more; else until the run has finished."""
    files = RunFiles(run_dir)
    settings = load_settings(files.config)
    sent = Sent(run_dir / "tracking" / f"{to}.jsonl")
    sent.read()
    tracker = _open(to, project, settings.run, sent, flatten(settings.model_dump(mode="json")))
    num_before = len(sent.points)
    try:
        while True:
            began = time.monotonic()
            has_finished = files.crate.exists()  # asked first: nothing comes after it
            _send(files, tracker, sent)
            if once or has_finished:
                break
            time.sleep(max(interval, (time.monotonic() - began) / _SHARE_OF_TIME))
    finally:
        tracker.finish()
        sent.settle(0.0)
    say(f"track: {len(sent.points) - num_before} points sent to {to}, {num_before} before")


def _send(files: RunFiles, tracker: Tracker, sent: Sent) -> None:
    for point in points_of(iteration_table(files), evaluation_table(files)):
        if point.name not in sent.points:
            tracker.log(point)
            sent.add(point)
    sent.settle(tracker.settles_after)


def _open(to: str, project: str, name: str, sent: Sent, settings: dict[str, object]) -> Tracker:
    try:
        return TRACKERS[to](project, name, sent.id, settings, sent.path.parent)
    except ImportError as error:
        note(f"{to}: {error}")
        raise click.ClickException(f"{to} is not installed: pip install {to}") from None
    except Exception as error:  # each has errors of its own: no login, no server, a wrong address
        raise click.ClickException(f"{to}: {first_line(error)}") from None
