"""Submitting one job: with retries, on record.

In: a Snakemake job, sbatch's message. Out: whether to retry, the job's record, what to say of it.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prime_core.launch.site.resource_names import GPUS
from prime_core.launch.slurm import commands as slurm
from prime_core.run.job_records import SubmittedJob, submitted_jobs
from prime_core.run.layout import RunFiles
from prime_core.runtime.text import duration

PATIENCE_SECONDS = 600.0
SECONDS_BETWEEN_TRIES = 10.0
# sbatch's messages that mean "not now" rather than "never".
TRANSIENT = re.compile(
    r"unable to contact slurm controller|backup controller in standby|unable to establish"
    r"|(connection|send|receive|shutdown) failure|socket timed out|zero bytes were transmitted"
    r"|connection (refused|reset|timed out)|temporarily|try again|munge",
    re.IGNORECASE,
)
MAX_LOG_LINES, MAX_LOG_CHARACTERS = 10, 4000


class Patience:
    """How long the submission of one job is retried."""

    def __init__(self, closing: threading.Event, logger: Any) -> None:
        """closing: set when the workflow ends; nothing is tried from then on."""
        self._closing, self._logger = closing, logger
        self._end: float | None = None

    def wait(self, failure: str, find: Callable[[], str]) -> str | None:
        """What `find` returns once Slurm answers; None: the failure is final."""
        if not TRANSIENT.search(failure):
            return None
        if self._end is None:
            self._end = time.monotonic() + PATIENCE_SECONDS
            said = failure.splitlines()[0]
            trying = f"retrying for {duration(PATIENCE_SECONDS)}"
            self._logger.warning(f"Slurm accepts no jobs; {trying}. {said}")
        # An event, not a sleep: the end of the workflow must not wait ten minutes.
        while time.monotonic() < self._end and not self._closing.wait(SECONDS_BETWEEN_TRIES):
            try:
                # Before each new try: sbatch may time out on a job that was accepted, whose twin
                # would write the same files (docs/decisions.md#slurm-away).
                return find()
            except slurm.SlurmError:
                continue
        return None


def accepted(files: RunFiles, name: str, comment: str) -> str:
    """Id of a job that Slurm accepted although sbatch failed; "" when there is none.

    name, comment: as the plugin submits it; the comment is unique to a job. Raises SlurmError.
    """
    # A retry has the comment of the attempt before it, which squeue still remembers.
    known = {job.job_id for job in submitted_jobs(files)}
    for job in slurm.jobs_named(name):
        if job.comment == comment and job.job_id not in known:
            return job.job_id
    return ""


def stage_name(job: Any) -> str:
    """The stage that a job is; one may be two rules (docs/decisions.md#kept-and-temporary)."""
    return str(job.name).removeprefix("kept_")


def job_record(job: Any, job_id: str) -> SubmittedJob:
    """What is recorded of a submitted job."""
    wildcards = {} if job.is_group() else job.wildcards_dict
    gpus = job.resources.get(GPUS, 0)
    return SubmittedJob(
        job_id=job_id,
        stage=stage_name(job),
        iteration=int(wildcards.get("iteration", 0)),
        part=str(wildcards.get("shard", wildcards.get("benchmark", ""))),
        attempt=job.attempt,
        submitted=time.time(),
        log=str(job.log[0]) if job.log else "",
        gpus=gpus if isinstance(gpus, int) else 0,
    )


def failure(job: Any, why: str, slurm_log: Path) -> str:
    """Message about a failed job: why, which attempt, the end of the most telling log.

    why: one sentence. slurm_log: Slurm's own, read where the stage wrote none.
    """
    line = job_record(job, "")
    part = f" {line.part}" if line.part else ""
    where = f" of iteration {line.iteration}" if line.iteration else ""
    said = (
        f"{line.stage}{part}{where} failed, attempt {job.attempt} of {job.restart_times + 1}: {why}"
    )
    logs = [log for log in (Path(line.log), slurm_log) if log.is_file() and log.stat().st_size]
    return "\n".join([said, *(_end_of(logs[0]) if logs else [])])


def last_line(job: Any) -> str:
    """A finished stage's own summary: the last line of its log, "" without one."""
    log = Path(job_record(job, "").log)
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _end_of(log: Path) -> list[str]:
    text = log.read_text(encoding="utf-8", errors="replace")[-MAX_LOG_CHARACTERS:]
    return [f"The end of {log}:", *(f"  {line}" for line in text.splitlines()[-MAX_LOG_LINES:])]
