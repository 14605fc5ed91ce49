"""Whether a job that Slurm counts as failed was ended from outside: pre-empted, or its node died.

In: an ended job. Out: what ended it, as a clause; "" where it failed by itself, as far as Slurm
tells. A job that exits at the warning of a pre-emption is FAILED like any other
(docs/decisions.md#interruptions).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.commands import SlurmError

# Ends that only look like a failure of the job's own; others (time, memory) never do.
AMBIGUOUS = ("FAILED", "CANCELLED")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
# DOWN*, IDLE*: the star stands for a node that does not answer.
_DEAD = re.compile(r"DOWN|FAIL|NOT_RESPONDING|POWERED_DOWN|\*")


def is_being_preempted(job_id: str) -> bool:
    """Whether a running job is in the grace time of a pre-emption; False if Slurm does not say."""
    try:
        shown = slurm.details(job_id)
    except SlurmError:
        return False
    return shown.get("JobState") == "RUNNING" and _was_preempted(shown)


def cause(job_id: str) -> str:
    """What ended the job's latest start; "" also where Slurm does not say."""
    try:
        shown = slurm.details(job_id)
    except SlurmError:
        return ""
    if shown.get("JobState") not in AMBIGUOUS:
        return ""
    if _was_preempted(shown):
        return "it was pre-empted"
    node = _dead_node(shown.get("NodeList", "")) if shown.get("JobState") == "FAILED" else ""
    return f"its node {node} failed" if node else ""


def _was_preempted(shown: Mapping[str, str]) -> bool:
    preempted, started = shown.get("PreemptTime", ""), shown.get("StartTime", "")
    # A requeued job shows when it was pre-empted in an earlier start. ISO 8601 sorts as text.
    return _TIME.fullmatch(preempted) is not None and preempted >= started


def _dead_node(nodes: str) -> str:
    """The first of a job's nodes that is down or silent; "" where all are well or hidden."""
    if nodes in ("", "(null)"):
        return ""
    try:
        lines = slurm.call("scontrol", "--oneliner", "show", "node", nodes).splitlines()
    except SlurmError:
        return ""
    for line in lines:
        fields = slurm.fields(line)
        if _DEAD.search(fields.get("State", "")):
            return fields.get("NodeName", "")
    return ""
