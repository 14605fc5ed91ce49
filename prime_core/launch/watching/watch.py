"""A thread beside the workflow: lines on the console, and the report renewed as the run goes.

It reads files and starts `prime report`; no stage and no rule knows of it, so that results do not
depend on it (docs/decisions.md#watching).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from prime_core.launch.watching.lines import iteration_line, result_line, stage_line
from prime_core.run.layout import RunFiles
from prime_core.runtime.console import note, say
from prime_core.runtime.threads import ONE_THREAD
from prime_core.settings.run import Settings

_SECONDS_BETWEEN_LOOKS = 2.0
# Renewing may take this share of the time at most: a page is 1.4 s of a core, an iteration of the
# quickstart 8 s, one of the paper's run ten minutes.
_SHARE_OF_TIME = 0.05
_FIRST_AFTER = 60.0
# A long stage is worth a line this often: at first, and at most a twentieth of the time so far.
_SECONDS_BETWEEN_LINES, _MOST_SECONDS_BETWEEN_LINES = 30.0, 600.0


class RunWatch:
    """One run, watched from now on until `end` or the end of the process."""

    def __init__(
        self, settings: Settings, files: RunFiles, say: Callable[[str], None] = say
    ) -> None:
        """Reads nothing yet: every job's process makes one."""
        self.settings, self.files, self.say = settings, files, say
        self.began = self.last_line = 0.0
        self.renewal: subprocess.Popen[bytes] | None = None
        self.renewal_began = self.next_renewal = 0.0
        self.has_news = False
        self.next_iteration = settings.start + 1
        self.num_evaluations = 0
        self._ended = threading.Event()

    def begin(self) -> None:
        """From now on; nothing is said of what has finished already."""
        self.began = self.last_line = time.time()
        self.next_renewal = self.began + _FIRST_AFTER
        for _ in self._finished():
            pass
        self.num_evaluations = self._count_evaluations()

    def start(self) -> None:
        """Begin, and look again and again in a thread."""
        self.begin()
        threading.Thread(target=self._run, daemon=True, name="run-watch").start()

    def end(self) -> None:
        """Say what the run has reached; nothing after a part of the workflow (`--until build`)."""
        self._ended.set()
        self.look()  # the last iteration may have ended since the last look
        if self.files.crate.exists():  # the last file of a whole run
            self.say(result_line(self.settings, self.files, time.time() - self.began))

    def look(self) -> None:
        """Say and renew what is due."""
        now = time.time()
        for iteration in self._finished():
            self.has_news = True
            self._say(iteration_line(self.settings, self.files, iteration, now), now)
        count = self._count_evaluations()
        self.has_news |= count > self.num_evaluations
        self.num_evaluations = count
        gap = min(_MOST_SECONDS_BETWEEN_LINES, (now - self.began) / 20)
        if now - self.last_line > max(_SECONDS_BETWEEN_LINES, gap):
            self._say_stages(now)
        self._renew(now)

    def _run(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            try:
                self.look()
            except (OSError, ValueError) as error:  # a shared disk that is away for a moment
                note(f"watching the run: {error}")

    def _finished(self) -> Iterator[int]:
        """Iterations that have ended since the last look."""
        while self.next_iteration <= self.settings.iterations and all(
            self.files.metrics(self.next_iteration, stage).exists()
            for stage in self.settings.trained
        ):
            yield self.next_iteration
            self.next_iteration += 1

    def _count_evaluations(self) -> int:
        return sum(1 for _ in (self.files.root / "evaluations").glob("*/*.json"))

    def _say(self, line: str, now: float) -> None:
        self.say(line)
        self.last_line = now

    def _say_stages(self, now: float) -> None:
        """Where long stages are in their work."""
        logs = self.files.root / "logs"
        current = f"{self.next_iteration:04d}"
        folders = [logs, logs / "iterations" / current]
        folders += sorted((logs / "evaluations").glob("*"))[-1:]
        for log in (log for folder in folders for log in sorted(folder.glob("*.log"))):
            if now - log.stat().st_mtime < _SECONDS_BETWEEN_LINES and (
                line := stage_line(log, logs, now)
            ):
                self._say(line, now)

    def _renew(self, now: float) -> None:
        """Write the page, tables and events anew, where there is news and it costs little."""
        if self.renewal is not None:
            if self.renewal.poll() is None:
                return
            self.renewal = None
            self.next_renewal = now + (now - self.renewal_began) / _SHARE_OF_TIME
        is_last = self.next_iteration > self.settings.iterations  # the workflow's own report comes
        if self.has_news and now >= self.next_renewal and not is_last and not self._ended.is_set():
            self.has_news = False
            self.renewal_began = now
            self.renewal = renew_report(self.files)


def renew_report(files: RunFiles) -> subprocess.Popen[bytes]:
    """Start `prime report` on a run that is going; what it says is in logs/renewals.log."""
    log = files.root / "logs" / "renewals.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # It is no stage of an allocation, which would defer it to the next one at its end.
    environment = {name: value for name, value in os.environ.items() if name != "PRIME_DEADLINE"}
    environment |= ONE_THREAD  # as stages have, or the resident process would not run it
    prime = str(Path(sys.executable).with_name("prime"))
    with log.open("ab") as out:
        return subprocess.Popen(
            ["nice", "-n", "10", prime, "report", "--no-record", "--run", str(files.root)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment,
        )
