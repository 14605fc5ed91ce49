"""Submitting one job: within the site's limits, patiently, and written down.

In: a job of Snakemake, the site, what sbatch said. Out: smaller wishes, whether to try again, a
line for the ledger.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prime_core.launch.site.site import Pool, Site
from prime_core.launch.slurm import commands as slurm
from prime_core.run.job_records import SubmittedJob, submitted_jobs
from prime_core.run.layout import RunFiles
from prime_core.runtime.text import duration

PATIENCE_SECONDS = 600.0
SECONDS_BETWEEN_TRIES = 10.0
# sbatch's words for "not now", as against "not so".
TRANSIENT = re.compile(
    r"unable to contact slurm controller|backup controller in standby|unable to establish"
    r"|(connection|send|receive|shutdown) failure|socket timed out|zero bytes were transmitted"
    r"|connection (refused|reset|timed out)|temporarily|try again|munge",
    re.IGNORECASE,
)
MAX_LOG_LINES, MAX_LOG_CHARACTERS = 10, 4000


class Patience:
    """How long one job is tried to be submitted."""

    def __init__(self, closing: threading.Event, logger: Any) -> None:
        """closing: set when the workflow ends; nothing is tried from then on."""
        self._closing, self._logger = closing, logger
        self._end: float | None = None

    def wait(self, failure: str, find: Callable[[], str]) -> str | None:
        """What `find` says once Slurm answers; None: the failure is final."""
        if not TRANSIENT.search(failure):
            return None
        if self._end is None:
            self._end = time.monotonic() + PATIENCE_SECONDS
            said = failure.splitlines()[0]
            trying = f"trying for {duration(PATIENCE_SECONDS)}"
            self._logger.warning(f"Slurm takes no jobs; {trying}. {said}")
        while time.monotonic() < self._end and not self._closing.wait(SECONDS_BETWEEN_TRIES):
            try:
                return find()
            except slurm.SlurmError:
                continue
        return None


def accepted(files: RunFiles, name: str, comment: str) -> str:
    """Number of a job that Slurm took although sbatch failed; "" when there is none.

    name, comment: as the plugin submits it; a comment is one job's own. Raises SlurmError.
    """
    known = {job.job_id for job in submitted_jobs(files)}
    for job in slurm.jobs_named(name):
        if job.comment == comment and job.job_id not in known:
            return job.job_id
    return ""


def limit(job: Any, site: Site) -> None:
    """Ask for no more than the job's partition gives: a retry's larger wish is not refused."""
    pool = _pool(job, site)
    for resource, most in (("mem_mb", pool.max_mem_mb), ("runtime", pool.max_minutes)):
        wish = job.resources.get(resource)
        if most is not None and isinstance(wish, int) and wish > most:
            setattr(job.resources, resource, most)


def ledger_line(job: Any, job_id: str) -> SubmittedJob:
    """What is written down of a submitted job."""
    wildcards = {} if job.is_group() else job.wildcards_dict
    gpus = job.resources.get("gpu", 0)
    return SubmittedJob(
        job_id=job_id,
        stage=job.name.removeprefix("kept_"),
        iteration=int(wildcards.get("iteration", 0)),
        part=str(wildcards.get("shard", wildcards.get("benchmark", ""))),
        attempt=job.attempt,
        submitted=time.time(),
        log=str(job.log[0]) if job.log else "",
        gpus=gpus if isinstance(gpus, int) else 0,
    )


def failure(job: Any, why: str, slurm_log: Path) -> str:
    """What a user is told of a failed job: why, which attempt, the end of the log that tells most.

    why: one sentence. slurm_log: Slurm's own, read where the stage wrote none.
    """
    line = ledger_line(job, "")
    part = f" {line.part}" if line.part else ""
    where = f" of iteration {line.iteration}" if line.iteration else ""
    said = (
        f"{line.stage}{part}{where} failed, attempt {job.attempt} of {job.restart_times + 1}: {why}"
    )
    logs = [log for log in (Path(line.log), slurm_log) if log.is_file() and log.stat().st_size]
    return "\n".join([said, *(_end_of(logs[0]) if logs else [])])


def last_line(job: Any) -> str:
    """What a finished stage said of itself: the last line of its log, "" without one."""
    log = Path(ledger_line(job, "").log)
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _end_of(log: Path) -> list[str]:
    text = log.read_text(encoding="utf-8", errors="replace")[-MAX_LOG_CHARACTERS:]
    return [f"The end of {log}:", *(f"  {line}" for line in text.splitlines()[-MAX_LOG_LINES:])]


def _pool(job: Any, site: Site) -> Pool:
    partition = job.resources.get("slurm_partition")
    likely = (site.gpu, site.cpu) if job.resources.get("gpu") else (site.cpu, site.gpu)
    return next((pool for pool in likely if pool.partition == partition), Pool())
