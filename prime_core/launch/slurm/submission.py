"""Submitting one job: with retries, on record.

In: a Snakemake job, sbatch's message. Out: whether to retry, the job's record, what to say of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from prime_core.launch.site.resource_names import GPUS
from prime_core.launch.slurm import commands as slurm
from prime_core.run.job_records import RefusedJob, SubmittedJob, submitted_jobs
from prime_core.run.layout import RunFiles
from prime_core.run.stages import part_of, stage_of_rule
from prime_core.runtime.text import duration

# A restart of slurmctld takes seconds, maintenance without notice half an hour.
PATIENCE_SECONDS = 1800.0
SECONDS_BETWEEN_TRIES = 10.0
MAX_LOG_LINES, MAX_LOG_CHARACTERS = 10, 4000


class Patience:
    """How long the submission of one job is retried."""

    def __init__(self, closing: threading.Event, logger: Any) -> None:
        """closing: set when the workflow ends; nothing is tried from then on."""
        self._closing, self._logger = closing, logger
        self._end: float | None = None

    def wait(self, said: str, find: Callable[[], str]) -> str | None:
        """What `find` returns once Slurm answers; None: it did not for too long.

        said: why it took no job, in one line.
        """
        if self._end is None:
            self._end = time.monotonic() + PATIENCE_SECONDS
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


def accepted(files: RunFiles, seen: Collection[str], name: str, comment: str) -> str:
    """Id of a job that Slurm accepted although sbatch failed; "" when there is none.

    seen: jobs of this launch, which a full disk may have kept from being recorded; name, comment:
    as the plugin submits it; the comment is unique to a job. Raises SlurmError.
    """
    # A retry has the comment of the attempts before it, which squeue still remembers.
    known = {job.job_id for job in submitted_jobs(files)} | set(seen)
    for job in slurm.jobs_named(name):
        # One that has ended may be such an attempt of an earlier launch; if it was not, its work is
        # done once more, after it and not beside it.
        if job.comment == comment and job.job_id not in known and not job.ended:
            return job.job_id
    return ""


def stage_name(job: Any) -> str:
    """The stage that a job is."""
    return stage_of_rule(str(job.name))


def job_record(job: Any, job_id: str) -> SubmittedJob:
    """What is recorded of a submitted job."""
    wildcards = {} if job.is_group() else job.wildcards_dict
    gpus = job.resources.get(GPUS, 0)
    return SubmittedJob(
        job_id=job_id,
        stage=stage_name(job),
        iteration=int(wildcards.get("iteration", 0)),
        part=part_of(wildcards),
        attempt=job.attempt,
        submitted=time.time(),
        log=str(job.log[0]) if job.log else "",
        gpus=gpus if isinstance(gpus, int) else 0,
    )


def title(job: Any) -> str:
    """A job as messages name it: "sample 00 of iteration 12"."""
    line = job_record(job, "")
    part = f" {line.part}" if line.part else ""
    return f"{line.stage}{part}" + (f" of iteration {line.iteration}" if line.iteration else "")


def failure(job: Any, why: str, logs: Sequence[Path]) -> str:
    """Message about a failed job: why, which attempt, the end of the most telling log.

    why: one sentence. logs: the stage's own first, then Slurm's, read where the stage wrote none.
    """
    said = f"{title(job)} failed, attempt {job.attempt} of {job.restart_times + 1}: {why}"
    written = [log for log in logs if log.is_file() and log.stat().st_size]
    return "\n".join([said, *(end_of(written[0]) if written else [])])


def refused_job(job: Any, why: str) -> RefusedJob:
    """What is recorded of a job that Slurm did not take."""
    line = job_record(job, "")
    return RefusedJob(line.stage, line.iteration, line.part, time.time(), why)


def pool_name(job: Any) -> str:
    """The pool of site.yaml that a job goes to."""
    return "gpu" if job_record(job, "").gpus else "cpu"


def lane(job: Any) -> tuple[str, ...]:
    """What decides which limits count a job: partition, account and QoS."""
    names = ("slurm_partition", "slurm_account", "qos")
    return tuple(str(job.resources.get(name) or "") for name in names)


def last_line(job: Any) -> str:
    """A finished stage's own summary: the last line of its log, "" without one."""
    log = Path(job_record(job, "").log)
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def end_of(log: Path) -> list[str]:
    """The last lines of a log, under its name."""
    text = log.read_text(encoding="utf-8", errors="replace")[-MAX_LOG_CHARACTERS:]
    return [f"The end of {log}:", *(f"  {line}" for line in text.splitlines()[-MAX_LOG_LINES:])]
