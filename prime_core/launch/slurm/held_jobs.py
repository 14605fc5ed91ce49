"""Pending jobs that will not start on their own.

In: a job as squeue shows it. Out: what to tell the user. Slurm holds a job whose launch failed on
its node (one that came back from a failure with an old job of the same id, a full spool disk): such
a job is released, as a user would do manually (docs/decisions.md#held-jobs). Other held jobs are
left to whoever held them.
"""

from __future__ import annotations

import re
from collections import Counter

from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.commands import QueuedJob, SlurmError

MAX_RELEASES = 3
# Reasons to be pending that only a person can clear.
_HELD = re.compile(r"held|BadConstraints|DependencyNeverSatisfied|PartitionTimeLimit", re.I)
# Spelled with spaces or underscores, depending on Slurm's version.
_LAUNCH_FAILED = re.compile(r"launch.failed", re.I)


class HeldJobs:
    """Held jobs of one workflow: each is released up to MAX_RELEASES times, then named once."""

    def __init__(self) -> None:
        self._releases: Counter[str] = Counter()
        self._named: set[tuple[str, str]] = set()

    def look(self, job: QueuedJob) -> str | None:
        """A message about a job; None where there is nothing new to say."""
        if job.state != "PENDING" or not _HELD.search(job.reason):
            return None
        # Bounded: on a node with a full disk each release may end in the same hold.
        if _LAUNCH_FAILED.search(job.reason) and self._releases[job.job_id] < MAX_RELEASES:
            return self._release(job)
        if (job.job_id, job.reason) in self._named:
            return None
        self._named.add((job.job_id, job.reason))
        return (
            f"Slurm job {job.job_id} will not start ({job.reason}): "
            f"`scontrol release {job.job_id}`, or `scancel {job.job_id}` to have it resubmitted"
        )

    def _release(self, job: QueuedJob) -> str | None:
        self._releases[job.job_id] += 1
        try:
            slurm.call("scontrol", "release", job.job_id)
        except SlurmError:  # not permitted here: the next poll names it
            self._releases[job.job_id] = MAX_RELEASES
            return None
        count = f"{self._releases[job.job_id]} of {MAX_RELEASES}"
        return f"Slurm job {job.job_id} could not be launched on its node; released ({count})"
