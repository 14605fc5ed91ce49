"""Accounting of a run's Slurm jobs: keeps slurm/accounting.json up to date.

In: what was submitted (prime_core.run.job_records), sacct, and squeue for what sacct does not have.
Out: the table of prime_core.run.costs. What was known stays when Slurm does not answer; nothing
here fails a run (docs/decisions.md#hours).
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from prime_core.launch.accounting import sacct
from prime_core.launch.slurm import commands as slurm
from prime_core.run.costs import GONE, Accounts, JobStart, read_accounts, write_accounts
from prime_core.run.job_records import (
    controller_name,
    controller_starts,
    slurm_name,
    submitted_jobs,
)
from prime_core.run.layout import RunFiles
from prime_core.run.tables import TableError
from prime_core.runtime.console import note

SETTLED = 3600.0  # seconds after its end within which a job may still be requeued manually
_NAMES = "prime_"  # how all runs' jobs begin: a recycled id may have been some other job's
_SAME = 2.0  # seconds by which sacct and squeue may differ about one start
_CLOCKS = 300.0  # seconds by which this machine's clock may differ from Slurm's
_BURST = 3.0  # seconds within which jobs submitted together share one query


def update(
    files: RunFiles, max_age: float = 0.0, timeout: float = sacct.TIMEOUT, patience: float = 0.0
) -> Accounts:
    """The run's accounts, refreshed and saved; nothing is raised where Slurm is silent.

    max_age: seconds for which the last query will do, unless jobs were submitted since; timeout:
    seconds to wait for a Slurm command; patience: seconds to leave sacct alone after it did not
    answer.
    """
    known, recorded, now = load(files), recorded_jobs(files), time.time()
    if not recorded or _will_do(known.looked, recorded, now, max_age):
        return known
    if not slurm.is_available():
        return replace(known, problem="this machine has no Slurm")
    # Also when both queries fail: a Slurm that is down is not asked at every submission.
    found = replace(known, looked=now)
    if not (known.problem and 0 <= now - known.tried < patience):
        found = _ask_accounting(found, recorded, now, timeout)
    # After sacct, so that a job that ends meanwhile is seen to have ended.
    names = (slurm_name(files.root), controller_name(files.root))
    found = _ask_queue(found, recorded, names, now, timeout)
    found = replace(found, starts=_with_gpus(files, found.starts))
    with contextlib.suppress(OSError):  # a full disk stops the stages, not this
        write_accounts(files, found)
    return found


def _will_do(looked: float, recorded: Mapping[str, float], now: float, max_age: float) -> bool:
    """Whether the last query will do; a job submitted since may already have ended."""
    allowed = min(max_age, _BURST) if max(recorded.values()) > looked else max_age
    # Negative where the clock was set back: the last query must not do until it catches up.
    return 0 <= now - looked < allowed


def refresh(run_dir: Path) -> None:
    """Update the accounts for a stage that can do without them: a failure is only reported."""
    try:
        update(RunFiles(run_dir))
    except Exception as error:  # hours are no reason to fail a run that has its results
        note(f"the hours of Slurm's jobs are not up to date: {error}")


def load(files: RunFiles) -> Accounts:
    """The accounts as last saved; a damaged file counts as none, and is written again."""
    try:
        return read_accounts(files)
    except (TableError, TypeError, KeyError):
        return Accounts()


def recorded_jobs(files: RunFiles) -> dict[str, float]:
    """Id of each job of the run -> when it was first recorded (seconds since 1970)."""
    times = [(job.job_id, job.submitted) for job in submitted_jobs(files)]
    times += [(c.slurm_job, c.started) for c in controller_starts(files) if c.slurm_job]
    first: dict[str, float] = {}
    for job_id, recorded in times:
        # A controller's job is recorded at each of its starts.
        first[job_id] = min(recorded, first.get(job_id, recorded))
    return first


def _ask_accounting(
    known: Accounts, recorded: Mapping[str, float], now: float, timeout: float
) -> Accounts:
    asked = _open(known.starts, recorded, now)
    try:
        fresh = sacct.accounted(asked, min(recorded.values()), timeout) if asked else []
    except slurm.SlurmError as error:
        reason = (str(error).splitlines() or [""])[-1].removeprefix("sacct: error: ")
        return replace(known, tried=now, problem=reason)
    starts = _replaced(known.starts, _own(fresh, recorded))
    return replace(known, starts=starts, answered=now, tried=now, problem="")


def _ask_queue(
    known: Accounts,
    recorded: Mapping[str, float],
    names: Sequence[str],
    now: float,
    timeout: float,
) -> Accounts:
    try:
        queued = _own(sacct.remembered(names, timeout), recorded)
        starts = _joined(known.starts, [start for start in queued if start.started is not None])
        return replace(known, starts=_without_gone(starts, queued, now))
    except slurm.SlurmError:
        return known


def _open(starts: Sequence[JobStart], recorded: Mapping[str, float], now: float) -> list[str]:
    """Jobs about which sacct may have news."""
    by_job = _by_job(starts)
    return [job_id for job_id in recorded if not _is_settled(by_job[job_id], now)]


def _is_settled(starts: Sequence[JobStart], now: float) -> bool:
    return bool(starts) and all(
        # squeue's figures are provisional: the database is asked until it has its own.
        start.source == "sacct" and start.ended is not None and now - start.ended > SETTLED
        for start in starts
    )


def _own(starts: Sequence[JobStart], recorded: Mapping[str, float]) -> list[JobStart]:
    """Without older jobs of the same ids: Slurm's numbers start over some day."""
    return [
        start
        for start in starts
        if start.job_id in recorded
        and start.name.startswith(_NAMES)
        and (start.ended is None or start.ended > recorded[start.job_id] - _CLOCKS)
    ]


def _replaced(known: Sequence[JobStart], fresh: Sequence[JobStart]) -> tuple[JobStart, ...]:
    """Known starts of the same jobs replaced by sacct's; one that only squeue has seen stays."""
    told, before = _by_job(fresh), _by_job(known)
    kept = [
        start
        for start in known
        if start.job_id not in told
        or (start.source == "squeue" and _find(start, told[start.job_id]) is None)
    ]
    fresh = [_updated(_find(start, before[start.job_id]), start) for start in fresh]
    return tuple(sorted((*kept, *fresh), key=lambda start: (start.submitted, start.job_id)))


def _updated(old: JobStart | None, new: JobStart) -> JobStart:
    if old is None:
        return new
    if old.state == GONE and new.ended is None:  # sacct takes it for running forever
        return old
    return replace(new, gpus=new.gpus or old.gpus)  # squeue may have shown what sacct omits


def _joined(known: Sequence[JobStart], queued: Sequence[JobStart]) -> tuple[JobStart, ...]:
    """With what squeue shows and sacct does not have yet: starts, and ends of starts."""
    told, before = _by_job(queued), _by_job(known)
    starts = []
    for start in known:
        seen = _find(start, told[start.job_id])
        if seen is not None and start.source == "squeue":
            start = seen
        # The database lags behind squeue, and a job taken for gone may show up again.
        elif seen is not None and (start.ended is None or start.state == GONE):
            start = replace(start, state=seen.state, exit_status=seen.exit_status, ended=seen.ended)
        starts.append(start)
    new = [seen for seen in queued if _find(seen, before[seen.job_id]) is None]
    begun = {start.job_id for start in new}
    # In the database such a job may still wait.
    starts = [s for s in starts if s.job_id not in begun or s.started or s.ended]
    return (*starts, *new)


def _without_gone(
    starts: Sequence[JobStart], queued: Sequence[JobStart], now: float
) -> tuple[JobStart, ...]:
    """Close starts that never ended but that Slurm no longer knows, at their limit at the latest.

    In Slurm's accounting such jobs run forever (runaway jobs).
    """
    listed = _by_job(queued)
    found = []
    for start in starts:
        running = start.started is not None and start.ended is None
        if running and _find(start, listed[start.job_id]) is None:
            # Once more by id: the list is by name, which changes when the run's folder moves, and
            # shows only the latest start of a job that was requeued.
            running = any(not job.ended for job in slurm.jobs_numbered([start.job_id]))
            if not running:
                limit = float("inf") if start.limit is None else start.limit
                # Taken to run on, a job that the database never closed would use up the budget.
                end = min(now, (start.started or 0.0) + limit)
                start = replace(start, state=GONE, ended=end)
        found.append(start)
    return tuple(found)


def _with_gpus(files: RunFiles, starts: Sequence[JobStart]) -> tuple[JobStart, ...]:
    """With the requested GPUs where Slurm does not count them (AccountingStorageTRES)."""
    asked = {job.job_id: job.gpus for job in submitted_jobs(files)}
    asked |= {c.slurm_job: c.gpus for c in controller_starts(files) if c.slurm_job}
    return tuple(
        replace(start, gpus=asked.get(start.job_id, 0))
        if start.gpus == 0 and start.started is not None
        else start
        for start in starts
    )


def _by_job(starts: Sequence[JobStart]) -> dict[str, list[JobStart]]:
    groups: dict[str, list[JobStart]] = defaultdict(list)
    for start in starts:
        groups[start.job_id].append(start)
    return groups


def _find(start: JobStart, others: Sequence[JobStart]) -> JobStart | None:
    """The same start of the same job, as the other source reports it."""
    if start.started is None:
        return None
    for other in others:
        if other.started is not None and abs(start.started - other.started) <= _SAME:
            return other
    return None
