"""`prime status`: what of a run is done, running, queued and failed, and when it will end.

In: the run's files, squeue, the run's lock. Out: a RunStatus, as a page of text or JSON. Works
without Slurm, too.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from prime_core.launch.accounting import accounts as accounting
from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.commands import NoCluster, QueuedJob, SlurmError
from prime_core.launch.slurm.reasons import explained
from prime_core.launch.slurm.workflow_job import log_of
from prime_core.launch.status.progress import Estimate, Progress, estimate, read_progress
from prime_core.launch.status.stage_logs import last_error, last_line, logs_of_stages, unfinished
from prime_core.launch.status.stage_processes import running_stages
from prime_core.run.costs import Accounts, gpu_hours
from prime_core.run.job_records import (
    HeldBackJobs,
    SubmittedJob,
    controller_name,
    controller_starts,
    held_back_jobs,
    refused_jobs,
    slurm_name,
    submitted_jobs,
)
from prime_core.run.layout import RunFiles
from prime_core.run.stages import Stage, result_of
from prime_core.runtime.errors import owner_number
from prime_core.runtime.run_lock import find_holder

# Slurm's accounting knows how jobs ended that squeue has forgotten; seconds (accounting.update).
_ACCOUNTS_MAX_AGE, _ACCOUNTS_TIMEOUT, _ACCOUNTS_PATIENCE = 60.0, 10.0, 300.0


@dataclass(frozen=True)
class StageAtWork:
    """A stage that runs or is queued; seconds, limit: -1 where unknown; starts: expected start.

    reason: why it is pending, in Slurm's word; waits_for: in a sentence with what to do; "" where
    it is not.
    """

    stage: Stage
    state: str
    slurm_job: str
    attempt: int
    reason: str
    waits_for: str
    nodes: str
    seconds: float
    limit: float
    starts: str
    log: str


@dataclass(frozen=True)
class FailedStage:
    """A stage that ended without its results, or never began, and has not been retried yet."""

    stage: Stage
    how: str
    error: str
    log: str


@dataclass(frozen=True)
class ControllerState:
    """Who drives the run. state: "running", "pending", ... or "none"; left: seconds of its time.

    way: slurm, allocation or local; node: as Slurm calls it, else the host; pid: Snakemake's there;
    waits_for: why its job is pending, "" where it is not.
    """

    state: str
    way: str
    slurm_job: str
    node: str
    host: str
    pid: int
    since: float | None
    left: float | None
    starts: str
    log: str
    waits_for: str = ""


@dataclass(frozen=True)
class RunStatus:
    """What `prime status` shows of a run; `--json` writes these fields.

    progress: None before the workflow has begun; gpu_hours: of its Slurm jobs so far, None without
    any; max_gpu_hours: its budget; problem: why Slurm could not be queried, "" where it could or is
    not installed; held_back: jobs that a limit keeps from being submitted.
    """

    run: str
    now: float
    progress: Progress | None
    estimate: Estimate | None
    controller: ControllerState
    at_work: list[StageAtWork]
    failed: list[FailedStage]
    gpu_hours: float | None
    max_gpu_hours: float | None
    problem: str
    held_back: HeldBackJobs


class NoRun(ValueError):
    """The folder holds no run."""


def read_status(run_dir: Path) -> RunStatus:
    """The state of a run now. Raises NoRun where none has been started."""
    files, now = RunFiles(run_dir), time.time()
    stage_jobs, controller_jobs, problem = _ask(files)
    controller = controller_state(files, controller_jobs)
    progress = read_progress(files) if files.config.exists() else None
    # A run whose first job still waits in the queue has no config, but this folder.
    if progress is None and controller.state == "none" and not files.controller_folder.exists():
        raise NoRun(f"{run_dir}: no run was started there (snakemake, or prime launch)")
    logs = _of_interest(logs_of_stages(files), progress.done if progress else 0)
    at_work = _in_slurm(files, stage_jobs, logs)
    if controller.state == "running" and controller.way != "slurm":
        at_work += _beside(files, controller, logs, {work.stage for work in at_work})
    accounts = accounting.update(files, _ACCOUNTS_MAX_AGE, _ACCOUNTS_TIMEOUT, _ACCOUNTS_PATIENCE)
    return RunStatus(
        run=str(run_dir),
        now=now,
        progress=progress,
        estimate=estimate(progress, now) if progress else None,
        controller=controller,
        at_work=sorted(at_work, key=lambda work: work.stage),
        failed=_failed(files, logs, accounts, stage_jobs, {work.stage for work in at_work}),
        gpu_hours=gpu_hours(accounts.starts, now) if accounts.starts else None,
        max_gpu_hours=progress.max_gpu_hours if progress else None,
        problem=problem,
        # A controller that was killed has left its last word.
        held_back=held_back_jobs(files) if controller.state == "running" else HeldBackJobs(0, ""),
    )


def as_json(status: RunStatus) -> str:
    """The status as a JSON object, for programs."""
    return json.dumps(asdict(status), indent=1)


def _of_interest(logs: dict[Stage, Path], done: int) -> dict[Stage, Path]:
    """Without the stages of finished iterations: there may be thousands."""
    return {
        stage: log
        for stage, log in logs.items()
        # Evaluations may still run, or fail, when their iteration counts as done.
        if stage.iteration == 0 or stage.iteration > done or stage.name == "evaluate"
    }


def _ask(files: RunFiles) -> tuple[list[QueuedJob], list[QueuedJob], str]:
    if not slurm.is_available():
        return [], [], ""
    try:
        owner = owner_number(files.root)  # a colleague's run has the colleague's jobs
        stages = slurm.jobs_named(slurm_name(files.root), owner)
        return stages, slurm.jobs_named(controller_name(files.root), owner), ""
    except NoCluster:
        return [], [], ""
    except SlurmError as error:
        return [], [], str(error)


def controller_state(files: RunFiles, jobs: list[QueuedJob]) -> ControllerState:
    """The controller's job, else the process that holds the run, else none."""
    starts = controller_starts(files)
    for job in jobs:
        if not job.ended:
            ways = [start.way for start in starts if start.slurm_job == job.job_id]
            holder = find_holder(files.root)
            return ControllerState(
                state=job.state.lower(),
                way=ways[-1] if ways else "slurm",
                slurm_job=job.job_id,
                node=job.nodes,
                host=holder.host if holder else "",
                pid=holder.pid if holder else 0,
                since=time.time() - job.elapsed if job.state == "RUNNING" else None,
                left=float(job.left) if job.left >= 0 else None,
                starts=job.start if job.state == "PENDING" else "",
                log=str(log_of(files.controller_folder, job.job_id)),
                waits_for=_waits_for(job),
            )
    holder = find_holder(files.root)
    last = starts[-1] if starts else None
    if holder is None:
        way = last.way if last else ""
        return ControllerState("none", way, "", "", "", 0, None, None, "", _last_log(files))
    # A local workflow records no start: the last record may be an earlier launch's.
    same = last is not None and last.pid == holder.pid and last.host == holder.host
    return ControllerState(
        state="running",
        way=last.way if last and same else "local",
        slurm_job=holder.slurm_job,
        node=holder.host,
        host=holder.host,
        pid=holder.pid,
        since=holder.since,
        left=None,
        starts="",
        log=last.log if last and same else "",
    )


def _last_log(files: RunFiles) -> str:
    """Log of the last controller's job; "" where none was launched."""
    logs = sorted(files.controller_folder.glob("*_log.out"), key=lambda path: path.stat().st_mtime)
    return str(logs[-1]) if logs else ""


def _in_slurm(files: RunFiles, jobs: list[QueuedJob], logs: dict[Stage, Path]) -> list[StageAtWork]:
    known = {job.job_id: job for job in submitted_jobs(files)}
    found = []
    for job in jobs:
        if job.ended:
            continue
        submitted = known.get(job.job_id)
        # A full disk may have kept a job from being recorded.
        stage = submitted.work if submitted else Stage(0, "unknown", "")
        found.append(
            StageAtWork(
                stage=stage,
                state=job.state.lower(),
                slurm_job=job.job_id,
                attempt=submitted.attempt if submitted else 1,
                reason=job.reason if job.state == "PENDING" else "",
                waits_for=_waits_for(job),
                nodes=job.nodes,
                seconds=job.elapsed,
                limit=job.elapsed + job.left if job.left >= 0 else -1,
                starts=job.start if job.state == "PENDING" else "",
                log=str(logs.get(stage) or (submitted.log if submitted else "")),
            )
        )
    return found


def _waits_for(job: QueuedJob) -> str:
    """Why a job is pending and what to do about it; "" for any other."""
    return str(explained(job.reason, job.job_id)) if job.state == "PENDING" else ""


def _beside(
    files: RunFiles,
    controller: ControllerState,
    logs: dict[Stage, Path],
    known: set[Stage],
) -> list[StageAtWork]:
    """Stages that run where Snakemake runs: its processes, or, on another host, by their logs."""
    here = controller.host == socket.gethostname() and controller.pid
    if here:
        seconds = {process.stage: process.seconds for process in running_stages(controller.pid)}
    else:
        begun = controller.since or 0.0
        seconds = {
            # Processes of another host are out of sight: logs written since its start must do.
            stage: -1.0
            for stage in unfinished(files, logs)
            if logs[stage].stat().st_mtime >= begun and not last_error(logs[stage])
        }
    return [
        StageAtWork(
            stage=stage,
            state="running",
            slurm_job=controller.slurm_job,
            attempt=1,
            reason="",
            waits_for="",
            nodes=controller.node,
            seconds=ran,
            limit=-1,
            starts="",
            log=str(logs.get(stage, "")),
        )
        for stage, ran in seconds.items()
        if stage not in known
    ]


def _failed(
    files: RunFiles,
    logs: dict[Stage, Path],
    accounts: Accounts,
    jobs: list[QueuedJob],
    at_work: set[Stage],
) -> list[FailedStage]:
    """Unfinished stages that neither run nor wait: how Slurm says they ended, the last line."""
    states = {start.job_id: start.state for start in accounts.starts}
    # squeue is newer; the accounts remember longer.
    states |= {job.job_id: job.state for job in jobs}
    last = {job.work: job for job in submitted_jobs(files)}
    refused = _refused(files, last, at_work)
    found = list(refused.values())
    for stage in unfinished(files, logs):
        if stage in at_work or stage in refused:
            continue
        log, job = logs[stage], last.get(stage)
        state = states.get(job.job_id, "") if job else ""
        error = last_error(log)
        if state in ("", "COMPLETED") and not error:
            state = "interrupted"
        attempt = f"attempt {job.attempt}, " if job and job.attempt > 1 else ""
        how = f"{attempt}{state}" if state else attempt.rstrip(", ")
        found.append(FailedStage(stage, how, error or last_line(log), str(log)))
    return found


def _refused(
    files: RunFiles, last: Mapping[Stage, SubmittedJob], at_work: set[Stage]
) -> dict[Stage, FailedStage]:
    """Stages whose latest submission Slurm has refused."""
    found = {}
    for refusal in refused_jobs(files):
        stage = refusal.work
        later = stage in last and last[stage].submitted > refusal.at
        if not (later or stage in at_work or result_of(files, stage).exists()):
            found[stage] = FailedStage(stage, "refused by Slurm", refusal.why, "")
    return found
