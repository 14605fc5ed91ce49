"""The run's budget, `max_gpu_hours`: when it is used up nothing more is submitted.

In: settings and the run's accounts. Out: a sentence that refuses, or none. All Slurm jobs of the
run count, including failed ones and allocations, and running ones with their time so far. Running
jobs may finish, so a run may end above its budget by what was running when it was reached
(docs/decisions.md#gpu-budget).
"""

from __future__ import annotations

import time

from prime_core.launch.accounting import accounts as accounting
from prime_core.run.costs import Accounts, gpu_hours
from prime_core.run.job_records import submitted_jobs
from prime_core.run.layout import RunFiles
from prime_core.runtime.console import note
from prime_core.settings.run import Settings

# At some sites the database hangs instead of refusing (docs/decisions.md#hours).
MAX_AGE = 30.0  # seconds between queries
TIMEOUT = 10.0  # seconds for a command: the caller is about to submit
PATIENCE = 300.0  # seconds to leave sacct alone after it did not answer
_said: set[str] = set()


def spent_gpu_hours(files: RunFiles) -> float:
    """GPU-hours of all the run's Slurm jobs, running ones so far.

    Where sacct does not answer: its last figures, and what squeue has shown since.
    """
    return gpu_hours(_accounts(files).starts, time.time())


def budget_refusal(settings: Settings, files: RunFiles) -> str | None:
    """Why nothing more may be submitted, as one sentence; None: budget is left, or has no limit.

    What makes the figure doubtful is printed on stderr, once per process.
    """
    limit = settings.max_gpu_hours
    if limit is None:
        return None
    accounts = _accounts(files)
    doubt = _doubt(accounts, files, limit)
    if doubt and doubt not in _said:
        _said.add(doubt)
        note(doubt)
    spent = gpu_hours(accounts.starts, time.time())
    if spent < limit:
        return None
    return (
        f"max_gpu_hours {limit:g} reached: {spent:.3g} GPU-hours used; "
        "raise it and start again to continue"
    )


def _accounts(files: RunFiles) -> Accounts:
    return accounting.update(files, MAX_AGE, TIMEOUT, PATIENCE)


def _doubt(accounts: Accounts, files: RunFiles, limit: float) -> str:
    if accounts.problem:
        return (
            f"max_gpu_hours {limit:g}: Slurm's accounting does not answer ({accounts.problem}); "
            "GPU-hours are estimated from squeue"
        )
    begun = {start.job_id for start in accounts.starts if start.started is not None}
    # Iterations begin with sampling, on GPUs; the stages before them may need none.
    learning = any(job.iteration > 0 and job.job_id in begun for job in submitted_jobs(files))
    if learning and not any(start.gpus for start in accounts.starts):
        return (
            f"max_gpu_hours {limit:g}: no job of this run is known to have held a GPU, so nothing "
            "counts; is gres/gpu missing from Slurm's AccountingStorageTRES?"
        )
    known = {start.job_id for start in accounts.starts}
    old = [
        job_id
        for job_id, recorded in accounting.recorded_jobs(files).items()
        if job_id not in known and time.time() - recorded > accounting.SETTLED
    ]
    if old:
        return (
            f"max_gpu_hours {limit:g}: Slurm has forgotten {len(old)} of the run's jobs; "
            "they are not counted"
        )
    return ""
