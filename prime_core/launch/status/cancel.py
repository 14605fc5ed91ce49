"""`prime cancel`: end whatever drives a run and all of its Slurm jobs.

In: a run's folder. Out: nothing of it is running; what is finished stays, and the command that
started it resumes from there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.commands import NoCluster, QueuedJob
from prime_core.launch.status.stage_processes import below, kill_all
from prime_core.run.job_records import controller_name, slurm_name
from prime_core.run.layout import RunFiles
from prime_core.runtime.errors import is_own, owner, owner_number
from prime_core.runtime.run_lock import Holder, find_holder

# Slurm kills a job some seconds (KillWait, 30 by default) after it has signalled it.
_SECONDS_TO_END = 120.0
_SECONDS_BETWEEN_LOOKS = 1.0
Say = Callable[[str], None]


class StillAtWork(ValueError):
    """Something of a run could not be ended."""


class NotYours(ValueError):
    """The run is another user's."""


@dataclass(frozen=True)
class AtWork:
    """What is running or queued for a run. holder: a workflow outside any controller job."""

    controllers: list[QueuedJob]
    stages: list[QueuedJob]
    holder: Holder | None

    def __bool__(self) -> bool:
        return bool(self.controllers or self.stages or self.holder)

    def __str__(self) -> str:
        parts = [f"controller job {job.job_id} ({job.state.lower()})" for job in self.controllers]
        if self.stages:
            numbers = ", ".join(job.job_id for job in self.stages)
            parts.append(f"stage jobs {numbers}")
        if self.holder:
            parts.append(f"snakemake ({self.holder})")
        return "; ".join(parts)


def at_work(run_dir: Path) -> AtWork:
    """Everything of a run that Slurm or this machine runs or has queued.

    Raises NotYours naming whose run it is.
    """
    files = RunFiles(run_dir)
    if os.geteuid() and not is_own(run_dir):
        raise NotYours(f"{run_dir} belongs to {owner(run_dir)}, who alone can cancel it")
    controllers = _alive(_names(files, controller_name), files)
    # With a controller job, the process that holds the run is inside it.
    holder = None if controllers else find_holder(files.root)
    return AtWork(controllers, _alive(_names(files, slurm_name), files), holder)


def cancel(run_dir: Path, say: Say = print) -> None:
    """End everything, the controller first, before it can resubmit.

    Raises StillAtWork naming what is left, SlurmError when Slurm does not answer.
    """
    files = RunFiles(run_dir)
    found = at_work(run_dir)
    if found.holder:
        _end_process(found.holder, say)
    if found.controllers:
        slurm.cancel([job.job_id for job in found.controllers])
        say(f"cancelled the controller: job {found.controllers[0].job_id}")
    ended: set[str] = set()
    end = time.monotonic() + _SECONDS_TO_END
    while True:
        # At each turn: until the controller is dead, it may submit more.
        stages = _alive(_names(files, slurm_name), files)
        fresh = [job.job_id for job in stages if job.job_id not in ended]
        slurm.cancel(fresh)
        ended.update(fresh)
        left: list[object] = [*_alive(_names(files, controller_name), files), *stages]
        # Slurm's answer comes before the last processes of a job have ended.
        left += filter(None, map(find_holder, _runs_below(files)))
        if not left or time.monotonic() > end:
            break
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    if ended:
        say(f"cancelled stage jobs {', '.join(sorted(ended))}")
    rest = at_work(run_dir)
    if rest:
        raise StillAtWork(f"{run_dir}: still running: {rest}")


def _names(files: RunFiles, name: Callable[[Path], str]) -> str:
    """Names of a run's jobs, or of those of all runs of the ablations, as squeue takes them."""
    return ",".join(map(name, [files.root, *_runs_below(files)]))


def _runs_below(files: RunFiles) -> list[Path]:
    """The runs of the ablations, where the folder is theirs."""
    return sorted(path.parent for path in files.root.glob("*/config.yaml"))


def _is_running(process: psutil.Process) -> bool:
    """Whether a process runs; a dead one stays a zombie until its parent asks for its status."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _alive(name: str, files: RunFiles) -> list[QueuedJob]:
    if not slurm.is_available():
        return []
    try:
        jobs = slurm.jobs_named(name, owner_number(files.root))
        return [job for job in jobs if not job.ended]
    # A machine of no cluster has no Slurm jobs. Any other silence is an error: they may run on.
    except NoCluster:
        return []


def _end_process(holder: Holder, say: Say) -> None:
    """Interrupt a Snakemake of this machine and its stages, as Ctrl-C would."""
    if not holder.is_here:
        raise StillAtWork(
            f"the run is driven by snakemake on {holder.host} (process {holder.pid}); "
            f"run there: kill -INT {holder.pid}"
        )
    processes = below(holder.pid)
    with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended by itself
        processes.insert(0, psutil.Process(holder.pid))
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            # Not SIGTERM, on which Snakemake lets its running stages finish.
            process.send_signal(signal.SIGINT)
    end = time.monotonic() + _SECONDS_TO_END / 4
    while any(map(_is_running, processes)) and time.monotonic() < end:
        time.sleep(0.1)
    if any(map(_is_running, processes)):
        kill_all(holder.pid)
    for process in filter(_is_running, processes):  # orphans are no longer below it
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    say(f"ended snakemake: process {holder.pid}")
