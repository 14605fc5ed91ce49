"""The Slurm job that this stage itself is: whether it still runs, and back into the queue with it.

A job that Slurm means to end later (before its time limit, or in the grace time of a pre-emption)
gets a signal while its state is RUNNING; one that is being ended (scancel, scontrol requeue, time
limit) is COMPLETING by then.
"""

from __future__ import annotations

import os
import re

from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.commands import SlurmError


def is_only_warned() -> bool:
    """Whether a signal leaves time: Slurm, or the supervisor of an allocation, ends it later."""
    return _in_allocation() or _runs_as_batch_job()


def put_back() -> str:
    """Put the job back into the queue under its own number, where it may; returns what to tell.

    Nothing is done outside of a batch job of Slurm, in an allocation (its supervisor does it), and
    for a job that is being ended already.
    """
    if _in_allocation() or not _runs_as_batch_job():
        return ""
    job_id = os.environ["SLURM_JOB_ID"]
    try:
        slurm.requeue(job_id)
    except SlurmError as error:
        return f"job {job_id} cannot go back into the queue ({error})"
    return f"job {job_id} is back in the queue"


def _in_allocation() -> bool:
    return os.environ.get("PRIME_WAY") == "allocation"


def _runs_as_batch_job() -> bool:
    """False also where Slurm does not answer: then nobody promises any time."""
    job_id = os.environ.get("SLURM_JOB_ID")
    if job_id is None:
        return False
    try:
        shown = slurm.call("scontrol", "--oneliner", "show", "job", job_id)
    except SlurmError:
        return False
    fields = dict(re.findall(r"(?:^| )(\w+)=(\S*)", shown))
    return fields.get("JobState") == "RUNNING" and fields.get("BatchFlag") == "1"
