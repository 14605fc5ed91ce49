"""Jobs as Slurm shows them, and the account of a made-up run's, through the real file formats."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from prime_core.launch.slurm.commands import QueuedJob
from prime_core.run.costs import Accounts, JobStart, write_accounts
from prime_core.run.job_records import (
    ControllerStart,
    SubmittedJob,
    record_controller,
    record_job,
    slurm_name,
)
from prime_core.run.layout import RunFiles

BEGIN = 1_790_000_000.0  # seconds since 1970
# Stage -> GPUs, processors, seconds, seconds in the queue.
STAGES = {
    "sample": (2, 16, 1800, 240),
    "verify": (0, 32, 600, 20),
    "select": (0, 2, 40, 5),
    "score": (2, 16, 700, 150),
    "prm": (4, 32, 900, 300),
    "policy": (4, 32, 1500, 420),
}


def queued(job_id: str, state: str = "PENDING", **changes: Any) -> QueuedJob:
    """A job as squeue shows it."""
    job = QueuedJob(
        job_id=job_id,
        name="prime_made-up_00000000",
        state=state,
        reason="None",
        partition="gpu",
        nodes="",
        elapsed=0,
        left=-1,
        start="N/A",
        comment="",
    )
    return replace(job, **changes)


def job_start(job_id: str, **changes: Any) -> JobStart:
    """A start of a job that ran for an hour on one GPU and four processors and ended well."""
    start = JobStart(
        job_id=job_id,
        name="prime_made-up_00000000",
        state="COMPLETED",
        exit_status=0,
        submitted=BEGIN,
        eligible=BEGIN,
        started=BEGIN + 60,
        ended=BEGIN + 3660,
        cpus=4,
        gpus=1,
        limit=7200.0,
        source="sacct",
    )
    return replace(start, **changes)


def job(job_id: str, stage: str, iteration: int = 1, part: str = "", gpus: int = 0) -> SubmittedJob:
    """A submitted job."""
    return SubmittedJob(job_id, stage, iteration, part, 1, BEGIN, f"logs/{job_id}.log", gpus)


def controller(way: Any, slurm_job: str, gpus: int = 0, started: float = BEGIN) -> ControllerStart:
    """A start of a controller inside a Slurm job."""
    return ControllerStart(way, "node-1", 1, slurm_job, gpus, started, "controller.log")


def add_slurm_jobs(run_dir: Path, iterations: int, problem: str = "") -> Accounts:
    """Record every stage of the iterations as a job; a policy update fails, one is requeued."""
    files, name = RunFiles(run_dir), slurm_name(run_dir)
    starts: list[JobStart] = []
    now = BEGIN
    record_controller(files, controller("slurm", "1"))
    controlling = job_start("1", name=name, gpus=0, cpus=1, started=BEGIN, limit=None)
    number = 2

    def run(stage: str, iteration: int, part: str = "", **changes: Any) -> None:
        nonlocal number
        gpus, cpus, seconds, wait = STAGES[stage]
        seconds, wait = seconds + 31 * iteration, wait + 97 * (iteration % 3)
        record_job(files, replace(job(str(number), stage, iteration, part, gpus), submitted=now))
        times = {"submitted": now, "eligible": now, "started": now + wait}
        start = job_start(str(number), name=name, gpus=gpus, cpus=cpus, **times)
        starts.append(replace(start, ended=now + wait + seconds, **changes))
        number += 1

    for iteration in range(1, iterations + 1):
        for stage in STAGES:
            for part in ("00", "01") if stage in ("sample", "verify") else ("",):
                run(stage, iteration, part)
            if stage == "policy" and iteration == 2:
                starts[-1] = replace(starts[-1], state="OUT_OF_MEMORY", exit_status=1)
                run(stage, iteration)
            now = max(start.ended or 0.0 for start in starts) + 4
    ended = BEGIN + 900.0  # the first job's node died; the same job, requeued, came to its end
    again = replace(starts[0], submitted=ended, eligible=None, started=ended + 200)
    starts.append(replace(again, ended=ended + 2000))
    starts[0] = replace(starts[0], state="NODE_FAIL", ended=ended)
    accounts = Accounts(
        starts=(replace(controlling, ended=now), *starts),
        answered=now,
        tried=now + 7200 if problem else now,
        problem=problem,
        looked=now,
    )
    write_accounts(files, accounts)
    return accounts
