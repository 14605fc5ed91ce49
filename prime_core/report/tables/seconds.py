"""Where the time went: seconds of every stage of a run.

Snakemake's benchmark files give the seconds of a job's whole process; the stages' own figures
(timing_s/...) give those of the work itself. The difference is start-up: interpreter, imports,
reading tables, loading models.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.run.stages import Stage, stage_of
from prime_core.run.tables import TableError, read_json

STAGE_COLUMNS = (
    "iteration",
    "stage",
    "num_jobs",
    "seconds",
    "startup_seconds",
    "longest_seconds",
    "max_rss_mb",
)


def stage_seconds(run_dir: Path) -> pd.DataFrame:
    """One row per iteration and stage, the jobs of its shards together.

    seconds: whole processes, added up; where Snakemake has no figure, the stage's own clock.
    startup_seconds: the part of it before and after the work; missing where only one clock ran.
    longest_seconds: the slowest job, which is how long the stage takes when all run side by side.
    """
    processes, work, held = process_figures(run_dir), work_seconds(run_dir), own_memory(run_dir)
    jobs = []
    for job in sorted(processes.keys() | work.keys()):
        seconds, memory = processes.get(job, (work.get(job), None))
        memory = max((one for one in (memory, held.get(job)) if one is not None), default=None)
        known = job in processes and job in work
        startup = max(0.0, processes[job][0] - work[job]) if known else None
        jobs.append((job.iteration, job.name, job.part, seconds, startup, memory))
    columns = ["iteration", "stage", "job", "seconds", "startup", "memory"]
    groups = pd.DataFrame(jobs, columns=columns).groupby(["iteration", "stage"], sort=True)
    table = groups.agg(
        num_jobs=("job", "size"),
        seconds=("seconds", "sum"),
        # Plain "sum" would make 0 of what is not known.
        startup_seconds=("startup", lambda values: values.sum(min_count=1)),
        longest_seconds=("seconds", "max"),
        max_rss_mb=("memory", "max"),
    )
    return table.reset_index()[list(STAGE_COLUMNS)]


def process_figures(run_dir: Path) -> dict[Stage, tuple[float, float | None]]:
    """Seconds and largest memory (MB) of each job's process, from Snakemake's benchmark files."""
    root = run_dir / "benchmarks"
    figures = {}
    for path in sorted(root.rglob("*.tsv")):
        job = stage_of(path.relative_to(root))
        if job.name != "report":  # the report cannot know its own time
            figures[job] = read_benchmark(path)
    return figures


def work_seconds(run_dir: Path) -> dict[Stage, float]:
    """Seconds of each job's own work: its timing_s/ figures but for timing_s/load."""
    seconds = {}
    for job, figures in _own_figures(run_dir):
        timings = [
            value
            for key, value in figures.items()
            if key.startswith("timing_s/") and key != "timing_s/load"
        ]
        if timings:
            seconds[job] = float(sum(timings))
    return seconds


def own_memory(run_dir: Path) -> dict[Stage, float]:
    """Largest memory (MB) of each job as it measured itself.

    Snakemake sees only the client of a stage that the resident process ran.
    """
    return {
        job: float(figures["process/max_rss_mb"])
        for job, figures in _own_figures(run_dir)
        if "process/max_rss_mb" in figures
    }


def _own_figures(run_dir: Path) -> Iterator[tuple[Stage, dict[str, Any]]]:
    """Each job with the figures that it wrote."""
    for folder in ("iterations", "evaluations", "metrics"):
        for path in sorted((run_dir / folder).rglob("*.json")):
            if folder == "iterations" and path.parent.name != "metrics":
                continue  # a model's own files
            relative = path.relative_to(run_dir)
            parts = [part for part in relative.parts if part != "metrics"]
            yield stage_of(Path(*parts)), read_json(path)


def read_benchmark(path: Path) -> tuple[float, float | None]:
    """Seconds and largest memory (MB) of one job's process. Raises TableError naming the file."""
    try:
        # What Snakemake writes for a job that ended before it could be measured.
        rows = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
        memory = float(rows["max_rss"].max()) if "max_rss" in rows else None
        return float(rows["s"].mean()), memory
    except (ValueError, KeyError) as error:
        raise TableError(f"{path}: not one of Snakemake's benchmark files ({error})") from None
