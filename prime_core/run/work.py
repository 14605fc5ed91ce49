"""What every stage does around its own work: open the run, hold its place, report figures."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from prime_core.run.layout import RunFiles
from prime_core.run.tables import write_json
from prime_core.settings.reading import load_settings
from prime_core.settings.run import Settings

Metrics = dict[str, float | int]


def open_run(run_dir: Path) -> tuple[Settings, RunFiles]:
    """Settings and files of a run's folder. Raises SettingsError when it is not one."""
    files = RunFiles(run_dir)
    return load_settings(files.config), files


@contextmanager
def only_one(output: Path, run_dir: Path) -> Iterator[None]:
    """Wait until no other process makes the same output, then hold its place.

    A killed workflow leaves its running stages behind; when it is started again, the new stage
    must not write beside the old one. The system gives the place free when a process ends,
    however it ends.
    """
    if os.environ.get("RANK", "0") != "0":  # the first rank holds the place for all of them
        yield
        return
    name = os.path.relpath(output, run_dir).replace(os.sep, "-") + ".lock"
    place = run_dir / ".locks" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process is making {output}; waiting for it to end", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def progress_bar(total: int, unit: str, description: str) -> tqdm:
    """A bar on standard error: lively on a terminal, a line every ten seconds in a log.

    Only the first rank shows one.
    """
    lively = sys.stderr.isatty()
    return tqdm(
        total=total,
        unit=unit,
        desc=description,
        mininterval=0.2 if lively else 10.0,
        dynamic_ncols=lively,
        leave=True,
        disable=os.environ.get("RANK", "0") != "0",
    )


class Stopwatch:
    """Seconds spent in named parts of a stage, as metrics `timing_s/<part>`."""

    def __init__(self) -> None:
        """Start with no parts."""
        self.seconds: Metrics = {}
        self._begun: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the seconds of the enclosed block to one part."""
        key = f"timing_s/{name}"
        self._begun[key] = time.perf_counter()
        try:
            yield
        finally:
            self.seconds = self.so_far()
            del self._begun[key]

    def so_far(self) -> Metrics:
        """As `seconds`, with what has passed of the parts that have not ended."""
        now = time.perf_counter()
        running = {key: self.seconds.get(key, 0.0) + now - at for key, at in self._begun.items()}
        return self.seconds | running


def finish(metrics_path: Path, metrics: Metrics, line: str) -> None:
    """Write a stage's figures and print its one line; the first rank does it for all of them."""
    if os.environ.get("RANK", "0") == "0":
        write_json(metrics_path, metrics)
        say(line)


def say(line: str) -> None:
    """Print a stage's one line; into its log as well, whose end a workflow on Slurm shows."""
    print(line, flush=True)
    if not sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


def place_of(iteration: int, settings: Settings) -> str:
    """How a stage's line begins: "iteration 3/12"."""
    return f"iteration {iteration}/{settings.iterations}"
