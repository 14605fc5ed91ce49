"""`prime launch`: the workflow as a Slurm job, so that nothing runs on the login node.

In: Snakemake's arguments. Out: a submitted job that requeues itself before its time limit, and the
commands to follow it. Settings are checked before anything is submitted.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, chdir
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prime_core.launch.arguments import (
    as_snakemake_reads,
    asked_settings,
    from_anywhere,
    named_folder,
    refuse_unknown_options,
    split_overrides,
    workflow_folder,
)
from prime_core.launch.controller import Controller
from prime_core.launch.fetch import refuse_missing_files
from prime_core.launch.site.allocation import (
    ALLOCATION_FILE,
    Allocation,
    load_allocation,
    one_pool_each,
)
from prime_core.launch.site.site import Pool, Site, load_site, site_file
from prime_core.launch.site.stage_resources import load_stages
from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.placement import first_to_start
from prime_core.launch.slurm.workflow_job import WorkflowJob, as_words, log_of, submit
from prime_core.launch.snakemake_command import translated
from prime_core.launch.supervisor import Supervisor
from prime_core.launch.workflow_output import refuse_unknown_stages, refuse_unusable_folder
from prime_core.run.job_records import controller_name
from prime_core.run.layout import RunFiles
from prime_core.run.state import RunBusy, RunState
from prime_core.runtime.console import note
from prime_core.runtime.errors import refuse_unusable
from prime_core.runtime.run_lock import find_holder
from prime_core.settings.notes import notes_on
from prime_core.settings.reading import SettingsError
from prime_core.settings.run import Settings
from prime_core.storage.caches import use_caches

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
    settings = asked_settings(passed)
    for line in notes_on(settings):
        note(line)
    site = load_site(site_file(workflow_folder()))
    use_caches(site.caches)
    refuse_unusable(named_folder(split_overrides(passed)[0]), settings.run_dir)
    RunState(settings)  # refuses what would change finished work
    refuse_as_the_workflow(settings, passed)
    files = RunFiles(settings.run_dir)
    words = from_anywhere(["--profile", options.profile, *passed])
    command = [sys.executable, "-m", "snakemake", *words]
    folder = files.controller_folder.absolute()
    start = (command, Path.cwd(), settings.run_dir, folder)
    choices: list[tuple[WorkflowJob, Callable[[], Any]]]
    if options.profile == "allocation":
        choices = _allocations(options, site, files, start, settings.max_gpu_hours)
    else:
        choices = [
            (controller_job(options, pool, files), Controller(*start))
            for pool in site.pools("controller")
        ]
    pool = "" if options.profile == "allocation" else "controller"
    submit_first(choices, files, command, options.dry_run, pool)


def submit_first(
    choices: Sequence[tuple[WorkflowJob, Callable[[], Any]]],
    files: RunFiles,
    command: Sequence[str],
    dry_run: bool,
    pool: str = "",
) -> None:
    """Submit the job that would start first, or show it, and say how to follow it.

    pool: its kind in site.yaml, which a refusal names; "": gpu or cpu, by what the job asks for.

    Raises RunBusy when the run already has a controller, SlurmError when Slurm refuses.
    """
    job, call = choices[0]
    if len(choices) > 1:
        job, call = first_to_start(choices, lambda choice: as_words(choice[0].options()))
    if dry_run:
        print("would submit:")
        print(_shown(job, command))
        return
    # After the dry run, which may be asked for while the run is going.
    refuse_busy(files)
    if ignored := slurm.ignored_requests():
        note(ignored)
    job_id = submit(job, call, pool or ("gpu" if job.gpus else "cpu"))
    run = shlex.quote(str(files.root))
    print(
        f"submitted job {job_id} ({job.name})\n"
        f"log:       {log_of(job.folder, job_id)}\n"
        f"to follow: prime status --run {run}\n"
        f"           prime logs --run {run}\n"
        f"to cancel: prime cancel --run {run}"
    )


def refuse_as_the_workflow(settings: Settings, arguments: Sequence[str]) -> None:
    """Raise what the workflow would refuse as soon as its job has waited in the queue.

    Beyond that, models of the hub that are not fetched: jobs may lack the internet to do so.
    """
    if any(word.startswith("--set-resources") for word in arguments):
        refuse_unknown_stages(as_snakemake_reads(arguments).set_resources)
    load_stages(workflow_folder() / settings.stage_resources)
    # HF_HUB_OFFLINE=0 declares that jobs have internet: they fetch what is missing themselves.
    offline = os.environ.get("HF_HUB_OFFLINE") != "0"
    run_dir = settings.run_dir.absolute()
    with ExitStack() as held:
        folder = named_folder(split_overrides(arguments)[0])
        if not folder.exists():  # Snakemake makes it: empty
            folder = Path(held.enter_context(TemporaryDirectory()))
        held.enter_context(chdir(folder))
        refuse_unusable_folder(run_dir)
        refuse_missing_files(settings, RunFiles(run_dir), dry_run=False, offline=offline)


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


def controller_job(
    options: Options, pool: Pool, files: RunFiles, mem_gb: float = CONTROLLER_MEM_GB
) -> WorkflowJob:
    """The job that drives a workflow whose stages are jobs of their own."""
    minutes = options.minutes or min(CONTROLLER_MINUTES, pool.max_minutes or CONTROLLER_MINUTES)
    return WorkflowJob(
        name=controller_name(files.root),
        pool=pool,
        minutes=minutes,
        nodes=1,
        cpus=1,
        mem_gb=mem_gb,
        gpus=0,
        # Half of the time at most: a job of a minute would be signalled before it has begun.
        signal_seconds=min(CONTROLLER_SIGNAL_SECONDS, minutes * 30),
        folder=files.controller_folder,
    )


def _allocations(
    options: Options,
    site: Site,
    files: RunFiles,
    start: tuple[list[str], Path, Path, Path],
    max_gpu_hours: float | None,
) -> list[tuple[WorkflowJob, Callable[[], Any]]]:
    """The allocation in each of the site's pools that has room for it.

    Raises SettingsError where none has: what the first one says.
    """
    source = options.allocation or Path(os.path.relpath(workflow_folder() / ALLOCATION_FILE))
    given = {
        "minutes": options.minutes,
        "gpus_per_node": options.gpus_per_node,
        "nodes": options.nodes,
    }
    storage = Path(site.fast_storage or "/dev/shm")
    found: list[tuple[WorkflowJob, Callable[[], Any]]] = []
    refusals: list[SettingsError] = []
    for one in one_pool_each(site, options.gpus_per_node):
        try:
            allocation = load_allocation(source, given, one)
        except SettingsError as error:
            refusals.append(error)
            continue
        call = Supervisor(*start, allocation, storage, max_gpu_hours)
        found.append((_allocation_job(allocation, files), call))
    if not found:
        raise refusals[0]
    return found


def _allocation_job(allocation: Allocation, files: RunFiles) -> WorkflowJob:
    return WorkflowJob(
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


def _shown(job: WorkflowJob, command: Sequence[str]) -> str:
    return "\n".join(
        [
            "  sbatch",
            *(f"    {option}" for option in as_words(job.options())),
            f"  {shlex.join(command)}",
        ]
    )
