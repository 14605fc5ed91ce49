"""What a run costs: hours of its Slurm jobs by stage and iteration, waiting, lost hours.

In: every start of its jobs (slurm/accounting.json, written by
prime_core.launch.accounting.accounts), what was submitted (prime_core.run.job_records), and when
stages ran inside an allocation. Out: charges, which add up to everything that Slurm counted, once.
docs/decisions.md#hours
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from prime_core.run.atomic import write_json
from prime_core.run.job_records import ControllerStart, SubmittedJob
from prime_core.run.layout import RunFiles
from prime_core.run.stages import Stage
from prime_core.run.tables import read_json
from prime_core.runtime import interruption

HOUR = 3600.0
CONTROLLER, IDLE = "controller", "idle"  # not stages: the workflow's own job; gaps between stages
_ROUNDING = 2.0  # seconds: Slurm's times are whole ones
GONE = "UNKNOWN"  # Slurm forgot the job before it was seen to end


@dataclass(frozen=True)
class JobStart:
    """One start of a Slurm job, or its wait for one: a requeued job has several.

    Times in seconds since 1970; None: not yet. limit: seconds that it may run, None: unlimited.
    """

    job_id: str
    name: str
    state: str
    exit_status: int
    submitted: float
    eligible: float | None
    started: float | None
    ended: float | None
    cpus: int
    gpus: int
    limit: float | None
    source: Literal["sacct", "squeue"]

    def seconds(self, now: float) -> float:
        """How long it ran, so far."""
        if self.started is None:
            return 0.0
        return max(0.0, (now if self.ended is None else self.ended) - self.started)

    def waited(self) -> float | None:
        """Seconds in the queue from when it might have started; None: it has not started."""
        if self.started is None:
            return None
        # Eligible, not submitted: until then a dependency or a begin time held it back, not the
        # queue.
        return max(0.0, self.started - (self.eligible or self.submitted))

    def is_lost(self) -> bool:
        """Whether it failed, timed out, was cancelled or was requeued."""
        # Exit status 75 leaves a checkpoint, so its hours count. docs/decisions.md#lost-hours
        # Nobody knows how a forgotten job ended: its hours are not called lost on a guess.
        kept = self.state in ("COMPLETED", GONE) or self.exit_status == interruption.EXIT_STATUS
        return self.ended is not None and not kept


@dataclass(frozen=True)
class Accounts:
    """All starts of a run's jobs that are known.

    answered: when Slurm's accounting last answered, None: never; tried: when it was last asked;
    problem: why it did not answer then, "" where it did; looked: when the table was last updated.
    Seconds since 1970.
    """

    starts: tuple[JobStart, ...] = ()
    answered: float | None = None
    tried: float = 0.0
    problem: str = ""
    looked: float = 0.0


@dataclass(frozen=True)
class Span:
    """When a stage ran, seconds since 1970: until it was done, or lost: until it was cut off."""

    work: Stage
    began: float
    ended: float
    lost: bool = False


@dataclass(frozen=True)
class Charge:
    """Hours of one start of a job, or of a stage's part of an allocation.

    job_id: "" for a stage inside an allocation, which is not a job; waited: seconds in the
    queue, None where it has not started or is no job;
    lost: the job failed, timed out, was cancelled or requeued, or its work was done again later.
    """

    iteration: int
    stage: str
    job_id: str
    gpu_hours: float
    cpu_hours: float
    waited: float | None
    lost: bool


def read_accounts(files: RunFiles) -> Accounts:
    """What was written last; nothing where nothing was. Raises TableError naming a broken file."""
    if not files.accounting.exists():
        return Accounts()
    values = read_json(files.accounting)
    return Accounts(**values | {"starts": tuple(JobStart(**row) for row in values["starts"])})


def write_accounts(files: RunFiles, accounts: Accounts) -> None:
    """Write them, whole or not at all."""
    write_json(files.accounting, asdict(accounts))


def gpu_hours(starts: Iterable[JobStart], now: float) -> float:
    """GPU-hours of all starts, of those that run now so far."""
    return sum(start.gpus * start.seconds(now) for start in starts) / HOUR


def charges(
    starts: Sequence[JobStart],
    jobs: Sequence[SubmittedJob],
    controllers: Sequence[ControllerStart],
    spans: Sequence[Span],
    now: float,
) -> list[Charge]:
    """Every start's hours, charged to its stage; an allocation's are divided among its stages."""
    works: dict[str, list[Stage]] = defaultdict(list)
    for job in jobs:
        works[job.job_id].append(job.work)
    ways = {start.slurm_job: start.way for start in controllers if start.slurm_job}
    # Without this a Slurm job's own benchmark file would count as its work being done a second
    # time.
    spans = _inside(spans, [s for s in starts if ways.get(s.job_id, "slurm") != "slurm"], now)
    last = _last_made(starts, works, spans)
    found = []
    for start in starts:
        if start.job_id in works:
            found += _of_stages(start, works[start.job_id], last, now)
        elif ways.get(start.job_id) == "slurm":
            # A requeued controller loses nothing: it keeps no state of its own.
            seconds, waited = start.seconds(now), start.waited()
            found.append(_charge(start, 0, CONTROLLER, seconds, waited, lost=False))
        elif start.job_id in ways:
            found += _of_allocation(start, spans, now)
    return found


def divide(began: float, ended: float, spans: Sequence[Span]) -> dict[tuple[int, str, bool], float]:
    """Seconds of a time by iteration, stage and whether they are lost.

    Where several stages ran at once, each has its share. What no span covers is IDLE, of iteration
    0. The seconds add up to the whole time.
    """
    edges = []
    for span in spans:
        if span.began < ended and span.ended > began:
            edges += [(max(span.began, began), 1, span), (min(span.ended, ended), -1, span)]
    # By time alone (spans have no order), and stably: the start of a span without length has to
    # stay before its end, or there would be nothing to remove yet.
    edges.sort(key=lambda edge: edge[0])
    seconds: dict[tuple[int, str, bool], float] = defaultdict(float)
    running: list[Span] = []
    here = began
    for time, change, span in edges:
        for other in running:
            key = (other.work.iteration, other.work.name, other.lost)
            seconds[key] += (time - here) / len(running)
        if not running:
            seconds[0, IDLE, False] += time - here
        here = time
        if change > 0:
            running.append(span)
        else:
            running.remove(span)
    seconds[0, IDLE, False] += ended - here
    return dict(seconds)


def _inside(spans: Sequence[Span], allocations: Sequence[JobStart], now: float) -> list[Span]:
    """The spans that ended inside an allocation; Slurm jobs have hours of their own."""
    times = [(a.started, a.started + a.seconds(now)) for a in allocations if a.started is not None]
    return [
        span
        for span in spans
        # By its end alone: its beginning is computed (the file's time less its seconds) and may
        # fall just before the allocation's; `divide` clips it.
        if any(began < span.ended <= ended + _ROUNDING for began, ended in times)
    ]


def _of_stages(
    start: JobStart, works: list[Stage], last: dict[Stage, float], now: float
) -> list[Charge]:
    """A job of several stages (a Snakemake group) is charged to them in equal parts."""
    seconds = start.seconds(now) / len(works)
    waited = start.waited()
    return [
        _charge(
            start,
            *(work.iteration, work.name, seconds, waited),
            lost=start.is_lost() or _is_repeated(start, last.get(work)),
        )
        for work in works
    ]


def _of_allocation(start: JobStart, spans: Sequence[Span], now: float) -> list[Charge]:
    if start.started is None:
        return []
    parts = divide(start.started, start.started + start.seconds(now), spans)
    idle = parts.pop((0, IDLE, False), 0.0)
    # With the number, the table of costs would count every stage as a job of its own.
    inside = replace(start, job_id="")
    return [
        # The allocation waited once, so its wait is charged once, here.
        _charge(start, 0, IDLE, idle, start.waited(), lost=False),
        *(
            _charge(inside, iteration, stage, seconds, None, lost)
            for (iteration, stage, lost), seconds in parts.items()
        ),
    ]


def _charge(
    start: JobStart,
    iteration: int,
    stage: str,
    seconds: float,
    waited: float | None,
    lost: bool,
) -> Charge:
    return Charge(
        iteration=iteration,
        stage=stage,
        job_id=start.job_id,
        gpu_hours=start.gpus * seconds / HOUR,
        cpu_hours=start.cpus * seconds / HOUR,
        waited=waited,
        lost=lost,
    )


def _last_made(
    starts: Sequence[JobStart], works: dict[str, list[Stage]], spans: Sequence[Span]
) -> dict[Stage, float]:
    """When each piece of work was last finished, as a job or inside an allocation."""
    last: dict[Stage, float] = defaultdict(float)
    for start in starts:
        if start.state == "COMPLETED" and start.ended is not None:
            for work in works.get(start.job_id, ()):
                last[work] = max(last[work], start.ended)
    for span in spans:
        # Cut off: it made nothing.
        if span.lost:
            continue
        last[span.work] = max(last[span.work], span.ended)
    return last


def _is_repeated(start: JobStart, last: float | None) -> bool:
    """Whether the same work was finished again after this start had finished it."""
    finished = start.state == "COMPLETED" and start.ended is not None
    return bool(finished and last is not None and start.ended is not None and last > start.ended)
