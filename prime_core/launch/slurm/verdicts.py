"""What Slurm's answers about a job mean for the workflow: wait, done, failed or interrupted.

In: a job's successive states, as squeue or sacct spell them; None where an answer omits the job.
Out: a Verdict for each.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

FAILED = {
    "CANCELLED",
    "DEADLINE",
    "FAILED",
    "OUT_OF_MEMORY",
    "REVOKED",
    "TIMEOUT",
}
# Ended, unless Slurm requeues the job, which takes it a moment.
INTERRUPTED = {
    "BOOT_FAIL": "its node did not start",
    "NODE_FAIL": "its node failed",
    "PREEMPTED": "it was pre-empted",
}
REQUEUE_SECONDS = 60.0
# Slurm forgets ended jobs after MinJobAge (300 s by default); one answer may also be incomplete.
FORGOTTEN_ANSWERS = 3
FORGOTTEN_SECONDS = 15.0


@dataclass(frozen=True)
class Verdict:
    """kind: what to do about a job; why: one sentence where it ended without its results.

    An interrupted job did nothing wrong: it is submitted again as the same attempt.
    """

    kind: Literal["wait", "done", "failed", "interrupted"]
    why: str = ""


WAIT, DONE = Verdict("wait"), Verdict("done")


@dataclass
class _History:
    """Since when a job has been interrupted or missing; how many answers in a row omitted it."""

    interrupted: float | None = None
    missing: float | None = None
    num_missing: int = 0


class Verdicts:
    """Judges the jobs of one workflow, remembering the latest answers about each."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._histories: dict[str, _History] = {}

    def judge(self, job_id: str, state: str | None, has_written: Callable[[], bool]) -> Verdict:
        """What a job's state means. has_written: whether all its outputs exist, and are new."""
        history = self._histories.setdefault(job_id, _History())
        if state is None:
            verdict = self._missing(job_id, history, has_written)
        else:
            # The job must be missing from answers in a row: any with it shows that Slurm knows it.
            history.missing, history.num_missing = None, 0
            verdict = self._known(job_id, _plain(state), history, has_written)
        if verdict != WAIT:
            del self._histories[job_id]
        return verdict

    def _known(
        self, job_id: str, state: str, history: _History, has_written: Callable[[], bool]
    ) -> Verdict:
        if state == "COMPLETED":
            return DONE
        if state == "COMPLETING" and has_written():
            return DONE  # an epilogue may take minutes, or the node's answer get lost
        if state in FAILED:
            return Verdict("failed", f"Slurm job {job_id} ended in state {state}.")
        if state not in INTERRUPTED:
            history.interrupted = None
            return WAIT
        if history.interrupted is None:
            history.interrupted = self._clock()
        if self._clock() - history.interrupted < REQUEUE_SECONDS:
            return WAIT
        return Verdict(
            "interrupted", f"Slurm job {job_id} ended in state {state}: {INTERRUPTED[state]}."
        )

    def _missing(self, job_id: str, history: _History, has_written: Callable[[], bool]) -> Verdict:
        history.num_missing += 1
        if history.missing is None:
            history.missing = self._clock()
        # Seconds as well as answers: early polls follow each other quickly, and two answers may lie
        # an outage apart.
        too_short = self._clock() - history.missing < FORGOTTEN_SECONDS
        if too_short or history.num_missing < FORGOTTEN_ANSWERS:
            return WAIT
        if has_written():  # a file that exists is complete
            return DONE
        return Verdict(
            # Forgotten within the minute that it had to be requeued.
            "failed" if history.interrupted is None else "interrupted",
            f"Slurm no longer knows job {job_id}, and some of its outputs are missing.",
        )


def _plain(state: str) -> str:
    """A state as squeue spells it; sacct says "CANCELLED by 1000" and "CANCELLED+"."""
    return state.split(" ", 1)[0].rstrip("+")
