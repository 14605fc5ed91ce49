"""What was submitted for a run: one line of JSON per Slurm job, one per start of its controller.

Lines are only ever added, each with one write, so that a kill can at most truncate one; such a line
is skipped when the file is read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from prime_core.run.atomic import write_json
from prime_core.run.layout import RunFiles
from prime_core.run.stages import Stage

_PREFIX, _CONTROLLER = "prime_", "_controller"
# How a controller runs its stages: as Slurm jobs, inside one allocation, or on its own machine.
Way = Literal["slurm", "allocation", "local"]


@dataclass(frozen=True)
class SubmittedJob:
    """One Slurm job of a stage.

    iteration: 0 before the first; part: shard or benchmark, "" where a stage is one job;
    attempt: from 1 on; submitted: seconds since 1970; log: the stage's own log; gpus: asked for,
    which counts where Slurm's accounting does not count GPUs.
    """

    job_id: str
    stage: str
    iteration: int
    part: str
    attempt: int
    submitted: float
    log: str
    gpus: int = 0

    @property
    def work(self) -> Stage:
        """The piece of work that it was submitted for."""
        return Stage(self.iteration, self.stage, self.part)


@dataclass(frozen=True)
class RefusedJob:
    """A job that Slurm did not take, or would never have started.

    why: one sentence, with what to do; at: seconds since 1970.
    """

    stage: str
    iteration: int
    part: str
    at: float
    why: str

    @property
    def work(self) -> Stage:
        """The piece of work that it was to do."""
        return Stage(self.iteration, self.stage, self.part)


@dataclass(frozen=True)
class HeldBackJobs:
    """Jobs that a limit on queued jobs keeps from being submitted at the moment."""

    count: int
    why: str


@dataclass(frozen=True)
class ControllerStart:
    """One start of a workflow.

    slurm_job: the Slurm job that the controller itself is, "" outside of Slurm; gpus: GPUs that it
    holds for all of its time (one allocation), else 0.
    """

    way: Way
    host: str
    pid: int
    slurm_job: str
    gpus: int
    started: float
    log: str


@dataclass(frozen=True)
class StageStop:
    """A stage that the end of an allocation cut off, or kept from starting.

    seconds: how long it had run (0: it did not start, for lack of time); at: seconds since 1970.
    """

    stage: str
    iteration: int
    part: str
    seconds: float
    at: float

    @property
    def work(self) -> Stage:
        """The piece of work that the next allocation has to do."""
        return Stage(self.iteration, self.stage, self.part)


def slurm_name(run_dir: Path) -> str:
    """The name of every Slurm job of a run, by which they are found again.

    Runs of the same name in different folders differ in the last eight characters.
    docs/decisions.md#job-name
    """
    # Resolved: a launch from another working directory, or through a link, must find the same jobs.
    folder = str(run_dir.resolve())
    return (
        f"{_PREFIX}{run_dir.resolve().name[:30]}_{hashlib.sha256(folder.encode()).hexdigest()[:8]}"
    )


def controller_name(run_dir: Path) -> str:
    """The name of the job that the run's controller is (`prime launch`)."""
    return f"{slurm_name(run_dir)}{_CONTROLLER}"


def is_controller(name: str) -> bool:
    """Whether a job's name is that of some run's controller."""
    return name.startswith(_PREFIX) and name.endswith(_CONTROLLER)


def record_job(files: RunFiles, job: SubmittedJob) -> None:
    """Add a submitted job."""
    _append(files.submitted_jobs, asdict(job))


def record_refusal(files: RunFiles, refusal: RefusedJob) -> None:
    """Add a job that Slurm refused."""
    _append(files.refused_jobs, asdict(refusal))


def record_held_back(files: RunFiles, held: HeldBackJobs) -> None:
    """Replace what is known of jobs that a limit keeps from being submitted."""
    if held.count:
        write_json(files.held_back_jobs, asdict(held))
    else:
        files.held_back_jobs.unlink(missing_ok=True)


def record_controller(files: RunFiles, start: ControllerStart) -> None:
    """Add a start of a controller."""
    _append(files.controllers, asdict(start))


def record_stop(files: RunFiles, stop: StageStop) -> None:
    """Add a stage that was deferred to the next allocation."""
    _append(files.stage_stops, asdict(stop))


def submitted_jobs(files: RunFiles) -> list[SubmittedJob]:
    """All jobs ever submitted, in that order."""
    return [SubmittedJob(**line) for line in _lines(files.submitted_jobs)]


def refused_jobs(files: RunFiles) -> list[RefusedJob]:
    """All jobs that Slurm ever refused, in that order."""
    return [RefusedJob(**line) for line in _lines(files.refused_jobs)]


def held_back_jobs(files: RunFiles) -> HeldBackJobs:
    """Jobs that a limit keeps from being submitted, as long as a controller is at work."""
    try:
        return HeldBackJobs(**json.loads(files.held_back_jobs.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return HeldBackJobs(0, "")


def controller_starts(files: RunFiles) -> list[ControllerStart]:
    """All starts, in that order."""
    return [ControllerStart(**line) for line in _lines(files.controllers)]


def stage_stops(files: RunFiles) -> list[StageStop]:
    """All stages that were deferred to a next allocation, in that order."""
    return [StageStop(**line) for line in _lines(files.stage_stops)]


def _append(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(values, sort_keys=True) + "\n"
    # One write in append mode: lines of processes that write at the same time do not mix.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        # Behind a line that a kill or a full disk has cut off, this one would be lost with it.
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, ("\n" * torn + line).encode())
    finally:
        os.close(descriptor)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:  # cut off by a kill
            continue
