"""`prime launch`: the workflow as a Slurm job, so that nothing runs on the login node.

In: Snakemake's arguments. Out: a submitted job that requeues itself before its time limit, and the
commands to follow it. Settings are checked before anything is submitted.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prime_core.launch.arguments import (
    asked_settings,
    asks_for_ablations,
    from_anywhere,
    refuse_unknown_options,
    workflow_folder,
)
from prime_core.launch.controller import Controller
from prime_core.launch.fetch import missing
from prime_core.launch.site.allocation import ALLOCATION_FILE, load_allocation
from prime_core.launch.site.site import Site, load_site, site_file
from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.workflow_job import WorkflowJob, log_of, submit
from prime_core.launch.snakemake_command import translated
from prime_core.launch.supervisor import Supervisor
from prime_core.run.job_records import controller_name
from prime_core.run.layout import RunFiles
from prime_core.run.state import RunBusy, RunState
from prime_core.runtime.console import note
from prime_core.runtime.run_lock import find_holder
from prime_core.settings.reading import SettingsError
from prime_core.settings.run import Settings

# Long enough for a run of any length: the job requeues itself before its limit.
CONTROLLER_MINUTES = 1440
CONTROLLER_MEM_GB = 2
# Stopping Snakemake takes no time, but Slurm may send the signal a minute late.
CONTROLLER_SIGNAL_SECONDS = 90


@dataclass(frozen=True)
class Options:
    """Options of `prime launch` for the job itself; None: not given."""

    profile: str
    minutes: int | None = None
    gpus_per_node: int | None = None
    nodes: int | None = None
    allocation: Path | None = None
    dry_run: bool = False


def run(options: Options, arguments: Sequence[str]) -> None:
    """Submit the workflow, or with dry_run print what would be submitted.

    Raises SettingsError for wrong settings, RunBusy when the run already has a controller,
    SlurmError when Slurm refuses.
    """
    refuse_unknown_options(arguments)
    passed = translated(arguments)
    if asks_for_ablations(passed):
        raise SettingsError(
            "prime launch starts a single run; `snakemake ablations --profile slurm` starts all "
            "runs of the ablations, each with its own controller (docs/ablations.md)"
        )
    settings = asked_settings(passed)
    RunState(settings)  # refuses what would change finished work
    refuse_missing(settings, passed)
    files = RunFiles(settings.run_dir)
    site = load_site(site_file(workflow_folder()))
    words = from_anywhere(["--profile", options.profile, *passed])
    command = [sys.executable, "-m", "snakemake", *words]
    folder = files.controller_folder.absolute()
    start = (command, Path.cwd(), settings.run_dir, folder)
    call: Callable[[], Any]
    if options.profile == "allocation":
        job, call = _allocation(options, site, files, start, settings.max_gpu_hours)
    else:
        job, call = _controller(options, site, files), Controller(*start)
    if options.dry_run:
        print("would submit:")
        print(_shown(job, command))
        return
    # After the dry run, which may be asked for while the run is going.
    refuse_busy(files)
    if ignored := slurm.ignored_requests():
        note(ignored)
    pool = "controller" if options.profile != "allocation" else "gpu" if job.gpus else "cpu"
    job_id = submit(job, call, pool)
    run = shlex.quote(str(settings.run_dir))
    print(
        f"submitted job {job_id} ({job.name})\n"
        f"log:       {log_of(job.folder, job_id)}\n"
        f"to follow: prime status --run {run}\n"
        f"           prime logs --run {run}\n"
        f"to cancel: prime cancel --run {run}"
    )


def refuse_missing(settings: Settings, arguments: Sequence[str]) -> None:
    """Raise SettingsError when a model or table is missing: jobs may lack internet to fetch it."""
    # With --directory, relative paths mean another folder than this one.
    elsewhere = any(word.startswith(("--directory", "-d")) for word in arguments)
    # HF_HUB_OFFLINE=0 declares that jobs have internet: they fetch what is missing themselves.
    if elsewhere or os.environ.get("HF_HUB_OFFLINE") == "0":
        return
    absent = missing(settings)
    if absent:
        raise SettingsError(f"{absent[0]} (`prime fetch --check` lists everything that is missing)")


def refuse_busy(files: RunFiles) -> None:
    """Raise RunBusy, naming it, when the run already has a controller, queued or running."""
    for job in slurm.jobs_named(controller_name(files.root)):
        if not job.ended:
            where = f" on {job.nodes}" if job.nodes else ""
            raise RunBusy(
                f"{files.root} already has a controller: job {job.job_id}, "
                f"{job.state.lower()}{where}; end it with prime cancel"
            )
    # A workflow that was started by hand is not in the queue; it holds the run's lock.
    holder = find_holder(files.root)
    if holder is not None:
        raise RunBusy(f"another workflow is running in {files.root} ({holder})")


def _controller(options: Options, site: Site, files: RunFiles) -> WorkflowJob:
    pool = site.controller
    minutes = options.minutes or min(CONTROLLER_MINUTES, pool.max_minutes or CONTROLLER_MINUTES)
    return WorkflowJob(
        name=controller_name(files.root),
        pool=pool,
        minutes=minutes,
        nodes=1,
        cpus=1,
        mem_gb=CONTROLLER_MEM_GB,
        gpus=0,
        # Half of the time at most: a job of a minute would be signalled before it has begun.
        signal_seconds=min(CONTROLLER_SIGNAL_SECONDS, minutes * 30),
        folder=files.controller_folder,
    )


def _allocation(
    options: Options,
    site: Site,
    files: RunFiles,
    start: tuple[list[str], Path, Path, Path],
    max_gpu_hours: float | None,
) -> tuple[WorkflowJob, Supervisor]:
    source = options.allocation or Path(os.path.relpath(workflow_folder() / ALLOCATION_FILE))
    given = {
        "minutes": options.minutes,
        "gpus_per_node": options.gpus_per_node,
        "nodes": options.nodes,
    }
    allocation = load_allocation(source, given, site)
    job = WorkflowJob(
        name=controller_name(files.root),
        pool=allocation.pool,
        minutes=allocation.minutes,
        nodes=allocation.nodes,
        cpus=allocation.cpus_per_task,
        mem_gb=allocation.mem_gb,
        gpus=allocation.gpus_per_node,
        # What `Supervisor.stop` has for checkpoints is the time between this signal and the end.
        signal_seconds=round(60 * allocation.reserve_minutes),
        folder=files.controller_folder,
    )
    storage = Path(site.fast_storage or "/dev/shm")
    return job, Supervisor(*start, allocation, storage, max_gpu_hours)


def _shown(job: WorkflowJob, command: Sequence[str]) -> str:
    options = [
        f"--{key}" if value is True else f"--{key}={value}" for key, value in job.options().items()
    ]
    return "\n".join(
        ["  sbatch", *(f"    {option}" for option in options), f"  {shlex.join(command)}"]
    )
