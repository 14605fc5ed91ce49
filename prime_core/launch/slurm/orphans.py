"""Wait for Slurm jobs that an earlier launch of the workflow left running.

In: the run's files. Out: whether there were any. They write the files that this launch would submit
jobs for; once they have ended, the same command is started again, to rebuild the graph
(docs/decisions.md#jobs-of-dead-controller).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.first_folder import first_folder
from prime_core.run.job_records import SubmittedJob, slurm_name, submitted_jobs
from prime_core.run.layout import RunFiles
from prime_core.runtime.console import note
from prime_core.runtime.interruption import handled
from prime_core.runtime.text import duration

# Read at import: the executor removes Slurm's variables from the environment later.
_OWN_JOB = os.environ.get("SLURM_JOB_ID", "")
SECONDS_BETWEEN_LOOKS = 5.0
SECONDS_BETWEEN_MESSAGES = 60.0


class StoppedWaiting(ValueError):
    """The workflow was asked to stop while it waited; the jobs keep running."""


def wait_for_orphans(files: RunFiles) -> bool:
    """Wait until no job of an earlier launch is left; returns whether there were any.

    Raises StoppedWaiting at Ctrl-C or SIGTERM.
    """
    # A run that never used Slurm must not wait for one that is down.
    if not files.submitted_jobs.exists() or not slurm.is_available():
        return False
    # Snakemake's own handler would only note a SIGTERM.
    with handled(_stop, signal.SIGTERM, signal.SIGINT):
        return _wait(files)


def restart() -> NoReturn:
    """Replace this process by the same command, in the folder where it was first typed."""
    # exec discards what Python has buffered.
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(first_folder())
    if _OWN_JOB:
        # Removed by the executor; the next start's lock and records name the job again.
        os.environ["SLURM_JOB_ID"] = _OWN_JOB
    # sys.argv lacks Python's own arguments, `-m snakemake` among them.
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _wait(files: RunFiles) -> bool:
    name = slurm_name(files.root)
    any_found, said, said_at = False, None, 0.0
    while True:
        try:
            left = _at_work(name)
            message = describe(left, submitted_jobs(files), name)
        # Silence is no permission: the jobs may be running, and writing.
        except slurm.SlurmError as error:
            left, message = (
                [],
                f"Slurm does not answer; jobs of {files.root} may be running: {error}",
            )
        if not message:
            return any_found
        any_found = any_found or bool(left)
        # Elapsed times change at every poll; they alone are no news.
        news, now = [(job.job_id, job.state, job.reason) for job in left], time.monotonic()
        if news != said or now - said_at >= SECONDS_BETWEEN_MESSAGES:
            note(message)
            said, said_at = news, now
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _at_work(name: str) -> list[slurm.QueuedJob]:
    """Jobs of the run that have not ended, except this process's own."""
    return [job for job in slurm.jobs_named(name) if not job.ended and job.job_id != _OWN_JOB]


def describe(left: Sequence[slurm.QueuedJob], submitted: Sequence[SubmittedJob], name: str) -> str:
    """A message naming the jobs that are waited for; "" when there are none."""
    if not left:
        return ""
    stages = {line.job_id: _stage(line) for line in submitted}
    lines = [
        # A full disk may have kept a job from being recorded; its comment names the rule.
        f"  {stages.get(job.job_id) or job.comment}: Slurm job {job.job_id} {_state(job)}"
        for job in left
    ]
    return "\n".join(
        [
            "waiting for Slurm jobs that an earlier launch left running "
            f"(Ctrl-C leaves them alone; `scancel --name {name}` cancels them):",
            *lines,
        ]
    )


def _stage(line: SubmittedJob) -> str:
    part = f" {line.part}" if line.part else ""
    return f"iteration {line.iteration}, {line.stage}{part}" if line.iteration else line.stage


def _state(job: slurm.QueuedJob) -> str:
    if job.state == "PENDING":
        return f"pending ({job.reason})"
    left = f", at most {duration(job.left)} left" if job.left >= 0 else ""
    return f"{job.state.lower()} for {duration(job.elapsed)}{left}"


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise StoppedWaiting("stopped waiting for Slurm jobs of an earlier launch; they keep running")
