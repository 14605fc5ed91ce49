"""`prime runs`: the status of every run in a results folder, a line each.

In: the folders' files, one squeue for all of this user's jobs. Out: RunLines, as a table or JSON.
What only `prime status` shows (failed stages, sacct) is left out: there may be many runs.
"""

from __future__ import annotations

import json as json_module
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from prime_core.launch.accounting import accounts as accounting
from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.commands import NoCluster, QueuedJob, SlurmError
from prime_core.launch.status import terminal
from prime_core.launch.status.progress import estimate, read_progress
from prime_core.launch.status.status import controller_state
from prime_core.run.costs import gpu_hours
from prime_core.run.job_records import controller_name, slurm_name
from prime_core.run.layout import RunFiles
from prime_core.runtime.text import duration, table
from prime_core.settings.reading import SettingsError

_COLUMNS = ("RUN", "STATE", "DONE", "ACCURACY", "GPU-H", "JOBS", "LEFT")
_SIDES = "<<>>>>>"
_DEEPEST = 2  # results/ablations/<run> is as deep as a run lies


class NoRuns(ValueError):
    """The folder holds no runs."""


@dataclass(frozen=True)
class RunLine:
    """One run. state: finished, running, pending, stopped, or what is wrong with its settings.

    running, pending: its stages' Slurm jobs; gpu_hours: as last accounted, None without any;
    seconds_left: None where nobody knows; accuracy: of its first benchmark.
    """

    run: str
    state: str
    done: int
    iterations: int
    accuracy: float | None
    gpu_hours: float | None
    running: int
    pending: int
    seconds_left: float | None


def show(results: Path, json: bool, watch: bool, interval: float) -> None:
    """Print all runs of a folder; with `watch` again and again until all have finished.

    Raises NoRuns where there are none.
    """
    view = terminal.view(watch and not json)
    with view:
        while True:
            lines, problem = read_runs(results)
            if json or not view.is_terminal:
                print(as_json(lines) if json else "\n".join(page(lines, problem)), flush=True)
            else:
                view.show(terminal.stacked(_COLUMNS, map(_row, lines), _SIDES, _notes(problem)))
            if not watch or all(line.state == "finished" for line in lines):
                return
            time.sleep(interval)


def read_runs(results: Path) -> tuple[list[RunLine], str]:
    """Every run below a folder, by name, and why Slurm could not be asked ("")."""
    folders = list(_runs_in(results, _DEEPEST))
    if not folders:
        raise NoRuns(f"{results}: no run was started there (snakemake, or prime launch)")
    jobs, problem = _ask()
    now = time.time()
    return [_line(folder, results, jobs, now) for folder in folders], problem


def page(lines: Sequence[RunLine], problem: str) -> Iterator[str]:
    """The table as plain text."""
    yield from table([_COLUMNS, *map(_row, lines)], _SIDES, indent="")
    yield from _notes(problem)


def as_json(lines: Iterable[RunLine]) -> str:
    """All runs as a JSON list, for programs."""
    return json_module.dumps([asdict(line) for line in lines], indent=1)


def _runs_in(folder: Path, depth: int) -> Iterator[Path]:
    """Folders of runs, also those that wait in the queue and have no settings yet."""
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        files = RunFiles(path)
        below = list(_runs_in(path, depth - 1)) if depth > 1 and path.is_dir() else []
        # Ablations have a controller and are no run, but for the time until they have begun.
        if files.config.exists() or (files.controller_folder.exists() and not below):
            yield path
        else:
            yield from below


def _ask() -> tuple[list[QueuedJob], str]:
    if not slurm.is_available():
        return [], ""
    try:
        return slurm.jobs_of_user(), ""
    except NoCluster:
        return [], ""
    except SlurmError as error:
        return [], str(error)


def _line(folder: Path, results: Path, jobs: Sequence[QueuedJob], now: float) -> RunLine:
    files = RunFiles(folder)
    stages, controllers = slurm_name(folder), controller_name(folder)
    own = [job for job in jobs if job.name == stages]
    controller = controller_state(files, [job for job in jobs if job.name == controllers])
    state, progress = controller.state.replace("none", "stopped"), None
    try:
        progress = read_progress(files) if files.config.exists() else None
    except SettingsError as error:  # of another version, say: the others are shown all the same
        state = str(error)
    if progress and progress.finished:
        state = "finished"
    expected = estimate(progress, now) if progress else None
    starts = accounting.load(files).starts
    return RunLine(
        run=str(folder.relative_to(results)),
        state=state,
        done=progress.done if progress else 0,
        iterations=progress.iterations if progress else 0,
        accuracy=progress.accuracies[0].value if progress and progress.accuracies else None,
        gpu_hours=gpu_hours(starts, now) if starts else None,
        running=sum(job.state == "RUNNING" for job in own),
        pending=sum(job.state == "PENDING" for job in own),
        seconds_left=expected.seconds if expected else None,
    )


def _row(line: RunLine) -> tuple[str, ...]:
    jobs = f"{line.running} + {line.pending} pending" if line.pending else str(line.running)
    return (
        line.run,
        line.state,
        f"{line.done}/{line.iterations}" if line.iterations else "-",
        "-" if line.accuracy is None else f"{line.accuracy:.3f}",
        "-" if line.gpu_hours is None else f"{line.gpu_hours:,.1f}",
        jobs if line.running or line.pending else "-",
        "-" if line.seconds_left is None else duration(line.seconds_left),
    )


def _notes(problem: str) -> list[str]:
    return [f"Slurm does not answer: {problem}"] if problem else []
