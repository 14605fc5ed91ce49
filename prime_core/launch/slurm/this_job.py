"""The Slurm job that this stage runs in: whether a signal is only a warning, and its requeue.

A job that Slurm will end later (before its time limit, or in the grace time of a pre-emption) is
signalled while its state is RUNNING; one that is being ended (scancel, scontrol requeue, time
limit) is COMPLETING by then (docs/decisions.md#stage-requeues-itself).
"""

from __future__ import annotations

import os

from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.commands import SlurmError


def is_only_warned() -> bool:
    """Whether a signal leaves time: Slurm, or an allocation's supervisor, ends the stage later."""
    return _in_allocation() or _runs_as_batch_job()


def put_back() -> str:
    """Requeue the job under its own id; returns what to tell the user, "" where nothing was done.

    Nothing is done outside a Slurm batch job, in an allocation (its supervisor requeues), and for a
    job that is already being ended.
    """
    if _in_allocation() or not _runs_as_batch_job():
        return ""
    job_id = os.environ["SLURM_JOB_ID"]
    try:
        slurm.requeue(job_id)
    except SlurmError as error:
        return f"job {job_id} cannot be requeued ({error})"
    return f"job {job_id} is requeued"


def _in_allocation() -> bool:
    return os.environ.get("PRIME_WAY") == "allocation"


def _runs_as_batch_job() -> bool:
    """False also where Slurm does not answer: no time is then guaranteed."""
    job_id = os.environ.get("SLURM_JOB_ID")
    if job_id is None:
        return False
    try:
        shown = slurm.details(job_id)
    except SlurmError:
        return False
    # Slurm requeues batch jobs only, not those of salloc or srun.
    return shown.get("JobState") == "RUNNING" and shown.get("BatchFlag") == "1"
