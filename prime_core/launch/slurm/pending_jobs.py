"""Pending jobs: those that will not start by themselves, and what the others have waited for.

In: jobs as squeue shows them, at each poll. Out: what to tell the user. Slurm holds a job whose
launch failed on its node (one that came back from a failure with an old job of the same id, a full
spool disk): such a job is released, as a user would do manually (docs/decisions.md#held-jobs).
Other held jobs are left to whoever held them. After ten minutes the reason is said in words; a job
that a limit will never let start is named as hopeless (docs/decisions.md#limits).
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from prime_core.launch.slurm import account_limits, reasons
from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.commands import QueuedJob, SlurmError
from prime_core.launch.slurm.reasons import Reason
from prime_core.runtime.text import duration

MAX_RELEASES = 3
SECONDS_UNTIL_SAID = 600.0
SECONDS_BETWEEN_MESSAGES = 3600.0
_SHOWN = 3  # stages that a message names
# Spelled with spaces or underscores, depending on Slurm's version.
_LAUNCH_FAILED = re.compile(r"launch.failed", re.I)


@dataclass(frozen=True)
class _Waiting:
    """A job that has been pending for long enough to speak of it."""

    job: QueuedJob
    stage: str
    reason: Reason
    seconds: float


class PendingJobs:
    """Those of one workflow: held ones are released or named, reasons said, hopeless ones found."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._releases: Counter[str] = Counter()
        self._named: set[tuple[str, str]] = set()
        self._since: dict[str, float] = {}
        self._waiting: list[_Waiting] = []
        self._said: dict[str, float] = {}
        self._checked: dict[str, float] = {}

    def look(self, job: QueuedJob, stage: str) -> str | None:
        """A message about a job that will not start by itself; None: there is nothing new."""
        if job.state != "PENDING":
            self.forget(job.job_id)
            return None
        reason = reasons.explained(job.reason, job.job_id)
        waited = self._clock() - self._since.setdefault(job.job_id, self._clock())
        if waited >= SECONDS_UNTIL_SAID:
            self._waiting.append(_Waiting(job, stage, reason, waited))
        if reason.fate in ("waits", "limit"):
            return None
        # Bounded: on a node with a full disk each release may end in the same hold.
        if _LAUNCH_FAILED.search(job.reason) and self._releases[job.job_id] < MAX_RELEASES:
            return self._release(job)
        if (job.job_id, job.reason) in self._named:
            return None
        self._named.add((job.job_id, job.reason))
        return f"{stage}: Slurm job {job.job_id} will not start: {reason}"

    def forget(self, job_id: str) -> None:
        """Keep nothing of a job that has ended."""
        self._since.pop(job_id, None)

    def news(self) -> list[str]:
        """What jobs have been pending for, a sentence for each reason, an hour apart."""
        by_reason: dict[str, list[_Waiting]] = {}
        for one in self._waiting:
            by_reason.setdefault(one.reason.name, []).append(one)
        found, now = [], self._clock()
        for name, those in by_reason.items():
            if now - self._said.get(name, -SECONDS_BETWEEN_MESSAGES) >= SECONDS_BETWEEN_MESSAGES:
                self._said[name] = now
                found.append(_sentence(those))
        return found

    def hopeless(self, controller: str) -> dict[str, str]:
        """Jobs that can never start, by id: why. Ends the poll: `look` begins a new one.

        controller: id of the run's own controller job, "" where it is none.
        """
        waiting, self._waiting = self._waiting, []
        found: dict[str, str] = {}
        now = self._clock()
        for one in waiting:
            name = one.reason.name
            # One job stands for all of its reason, unless there is news: the database is asked.
            recent = now - self._checked.get(name, -SECONDS_BETWEEN_MESSAGES)
            asks = one.reason.fate == "limit" and recent >= SECONDS_BETWEEN_MESSAGES
            why = _never(one, asks, controller)
            if why:
                found[one.job.job_id] = why
            elif asks:
                self._checked[name] = now
        return found

    def _release(self, job: QueuedJob) -> str | None:
        self._releases[job.job_id] += 1
        try:
            slurm.call("scontrol", "release", job.job_id)
        except SlurmError:  # not permitted here: the next poll names it
            self._releases[job.job_id] = MAX_RELEASES
            return None
        count = f"{self._releases[job.job_id]} of {MAX_RELEASES}"
        return f"Slurm job {job.job_id} could not be launched on its node; released ({count})"


def _never(one: _Waiting, asks: bool, controller: str) -> str:
    """Why a job can never start as it was asked for; "" where it may.

    asks: whether to compare its limit with what it asks for.
    """
    said = f"Slurm job {one.job.job_id} can never start. {one.reason}"
    if one.reason.fate == "never":
        return said
    if not asks:
        return ""
    try:
        asked = account_limits.asked_by(one.job.job_id)
        why = account_limits.never(one.reason.name, asked, controller)
    except SlurmError:
        return ""
    return f"Slurm job {one.job.job_id} can never start. {one.reason.name}: {why}" if why else ""


def _sentence(those: list[_Waiting]) -> str:
    longest = max(those, key=lambda one: one.seconds)
    names = ", ".join(f"{one.stage} (Slurm job {one.job.job_id})" for one in those[:_SHOWN])
    more = f" and {len(those) - _SHOWN} more" if len(those) > _SHOWN else ""
    said = f"{names}{more}: pending for {duration(longest.seconds)}. {longest.reason}"
    return said + _of_idle_nodes(longest)


def _of_idle_nodes(one: _Waiting) -> str:
    """What to look at where nodes are idle and Slurm still waits for some; "" where none is."""
    partition = one.job.partition
    if one.reason.name != "Resources":
        return ""
    wanted = (f"--partition={partition}", "--states=idle", "--format=%D")
    try:
        idle = sum(int(word) for word in slurm.call("sinfo", "--noheader", *wanted).split())
    except (SlurmError, ValueError):  # a site may keep it from its users
        return ""
    if not idle:
        return ""
    return (
        f". {idle} of the nodes of {partition} are idle now: unless it needs more of them, compare "
        f"what it asks for (`scontrol show job {one.job.job_id}`) with what they have (`scontrol "
        "show node`). Where jobs get whole nodes, memory by processor is multiplied by all of "
        "theirs: whole_nodes in site.yaml"
    )
