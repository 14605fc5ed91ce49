"""What the run cost, for the page: hours, waiting and losses of its Slurm jobs.

In: slurm/accounting.json, the records of submitted jobs, Snakemake's benchmark files (when stages
ran inside an allocation). Out: one row per iteration and stage, and notes where hours are missing.
docs/decisions.md#lost-hours
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from prime_core.report.tables.seconds import read_benchmark
from prime_core.run.costs import CONTROLLER, IDLE, Accounts, Span, charges, read_accounts
from prime_core.run.job_records import controller_starts, stage_stops, submitted_jobs
from prime_core.run.layout import RunFiles
from prime_core.run.stages import stage_of

COST_COLUMNS = (
    "iteration",
    "stage",
    "num_jobs",
    "gpu_hours",
    "cpu_hours",
    "num_waits",
    "waiting_seconds",
    "longest_wait_seconds",
    "lost_gpu_hours",
    "lost_cpu_hours",
)
NO_STAGE = {CONTROLLER: "controller's job", IDLE: "allocation, no finished stage"}


@dataclass(frozen=True)
class Cost:
    """table: COST_COLUMNS; notes: sentences on what is unknown or out of date."""

    table: pd.DataFrame
    notes: tuple[str, ...]


def read_cost(files: RunFiles) -> Cost:
    """What Slurm's accounting last reported. Raises TableError naming an unreadable file."""
    jobs, controllers = submitted_jobs(files), controller_starts(files)
    numbers = {job.job_id for job in jobs} | {c.slurm_job for c in controllers if c.slurm_job}
    accounts = read_accounts(files)
    in_allocations = any(start.slurm_job and start.way != "slurm" for start in controllers)
    # Only an allocation's hours are divided by them; a stage's own job has its own account.
    times = spans(files) if in_allocations else []
    rows = charges(accounts.starts, jobs, controllers, times, accounts.looked)
    return Cost(cost_table([asdict(row) for row in rows]), tuple(_notes(accounts, numbers)))


def cost_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per iteration and stage (COST_COLUMNS) from charges."""
    columns = ["iteration", "stage", "job_id", "gpu_hours", "cpu_hours", "waited", "lost"]
    table = pd.DataFrame(rows, columns=columns).astype({"waited": float, "lost": bool})
    table["job_id"] = table["job_id"].replace(
        "", None
    )  # "" is a stage inside an allocation: not a job to count
    table["lost_gpu_hours"] = table["gpu_hours"].where(table["lost"], 0.0)
    table["lost_cpu_hours"] = table["cpu_hours"].where(table["lost"], 0.0)
    return (
        table.groupby(["iteration", "stage"], sort=True)
        .agg(
            num_jobs=("job_id", "nunique"),
            gpu_hours=("gpu_hours", "sum"),
            cpu_hours=("cpu_hours", "sum"),
            num_waits=("waited", "count"),
            waiting_seconds=("waited", "sum"),
            longest_wait_seconds=("waited", "max"),
            lost_gpu_hours=("lost_gpu_hours", "sum"),
            lost_cpu_hours=("lost_cpu_hours", "sum"),
        )
        .reset_index()[list(COST_COLUMNS)]
    )


def spans(files: RunFiles) -> list[Span]:
    """When stages ran: until their benchmark file was written, or until they were cut off."""
    root = files.root / "benchmarks"
    found = []
    for path in sorted(root.rglob("*.tsv")):
        # Snakemake writes the file when the job has ended, and no time of day into it.
        ended = path.stat().st_mtime
        seconds = read_benchmark(path)[0]
        found.append(Span(stage_of(path.relative_to(root)), ended - seconds, ended))
    for stop in stage_stops(files):
        found.append(Span(stop.work, stop.at - stop.seconds, stop.at, lost=True))
    return found


def total_row(table: pd.DataFrame) -> dict[str, Any]:
    """Sums over everything; the longest wait of all."""
    sums: dict[str, Any] = {column: table[column].sum() for column in COST_COLUMNS[2:]}
    return sums | {"longest_wait_seconds": table["longest_wait_seconds"].max()}


def stage_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """One row per stage over the whole run, the most expensive first, NO_STAGE last."""
    rows = [
        total_row(part) | {"stage": stage, "label": NO_STAGE.get(str(stage), stage)}
        for stage, part in table.groupby("stage")
    ]
    return sorted(
        rows, key=lambda row: (row["stage"] in NO_STAGE, -row["gpu_hours"], -row["cpu_hours"])
    )


def _notes(accounts: Accounts, numbers: set[str]) -> Iterator[str]:
    """numbers: of all jobs that the run submitted."""
    known = {start.job_id for start in accounts.starts}
    reason = accounts.problem or "it was not asked"
    if not numbers:
        yield "No Slurm job was submitted for this run, so there are no hours to count."
    elif not known:
        yield (
            f"Slurm's accounting has no hours of the run's jobs ({reason}): only the seconds of "
            "the stages are known."
        )
    elif accounts.answered is None:
        yield (
            f"Slurm keeps no accounting here ({reason}): hours are those that squeue had shown "
            f"by {moment(accounts.looked)}."
        )
    elif accounts.problem:
        yield (
            f"Slurm's accounting did not answer ({reason}): hours are those of "
            f"{moment(accounts.answered)}, and what squeue had shown by "
            f"{moment(accounts.looked)}."
        )
    if known and numbers - known:
        yield f"Nothing is known of {len(numbers - known)} of {len(numbers)} jobs."


def moment(time: float) -> str:
    """A time for readers, with its zone: 2026-11-20 18:00 UTC."""
    return datetime.fromtimestamp(time).astimezone().strftime("%Y-%m-%d %H:%M %Z")
