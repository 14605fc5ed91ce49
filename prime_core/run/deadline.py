"""No stage starts that cannot finish before its allocation ends.

In: PRIME_DEADLINE (seconds since 1970; set by prime_core.launch.supervisor), how long the stage
took so far in this run. Out: the stage starts, or it is deferred to the next allocation: exit
status 75, a line in slurm/stops.jsonl. docs/decisions.md#allocation-local
"""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path

from prime_core.run.job_records import StageStop, record_stop, stage_stops
from prime_core.run.layout import RunFiles
from prime_core.run.stages import STAGES, Stage
from prime_core.runtime import interruption
from prime_core.runtime.console import say
from prime_core.runtime.rank import is_first_rank
from prime_core.runtime.text import duration

DEADLINE = "PRIME_DEADLINE"
BEGINNING = "PRIME_ALLOCATION_BEGAN"
# Stages that save a checkpoint when asked to stop may start whenever there is time to load, take
# some steps and save.
SECONDS_TO_BE_WORTH_IT = 120.0
# For a stage that has never run in this run.
UNKNOWN_SECONDS = 60.0
# Iterations differ: responses get longer.
FACTOR = 1.2


class TooLong(ValueError):
    """A stage needs more time than a whole allocation has."""


def leave_if_too_late(run_dir: Path, stage: Stage, now: float | None = None) -> None:
    """End this process (SystemExit 75) when the stage would not finish before the deadline.

    now: seconds since 1970, None: this moment. Without PRIME_DEADLINE every stage starts. Raises
    TooLong when a fresh allocation would be too short as well.
    """
    deadline = os.environ.get(DEADLINE)
    # One rank decides: ranks that each looked at the time could disagree.
    if deadline is None or not is_first_rank():
        return
    files, now = RunFiles(run_dir), time.time() if now is None else now
    needed, left = seconds_needed(files, stage.name), float(deadline) - now
    if needed <= left:
        return
    # Without a known beginning the allocation counts as endless: then nothing is called too long.
    whole = float(deadline) - float(os.environ.get(BEGINNING, "-inf"))
    # An error near the beginning alone: deferred from there, the stage would be deferred forever.
    if needed > whole and left > 0.9 * whole:
        raise TooLong(
            f"{stage} needs about {duration(needed)}, but a whole allocation has only "
            f"{duration(whole)}: ask for more (prime launch --minutes)"
        )
    record_stop(files, StageStop(stage.name, stage.iteration, stage.part, 0.0, now))
    say(
        f"{stage} needs about {duration(needed)}, only {duration(left)} are left: "
        "deferred to the next allocation"
    )
    raise SystemExit(interruption.EXIT_STATUS)


def seconds_needed(files: RunFiles, stage: str) -> float:
    """How long a stage must be given, by its longest job in this run, including those cut off."""
    # Those cut off count: else a stage too long for what is left would be started and cut off again
    # in each allocation. docs/decisions.md#allocation-local
    ran = [*finished_seconds(files, stage), *cut_seconds(files, stage)]
    expected = FACTOR * max(ran) if ran else UNKNOWN_SECONDS
    return min(expected, SECONDS_TO_BE_WORTH_IT) if STAGES[stage].stops else expected


def finished_seconds(files: RunFiles, stage: str) -> list[float]:
    """Seconds of the stage's finished runs, from Snakemake's benchmark files."""
    root = files.root / "benchmarks"
    if STAGES[stage].each == "evaluation":
        found = list(root.glob("evaluations/**/*.tsv"))
    else:
        folders = ("", "iterations/*/")
        names = (f"{stage}.tsv", f"{stage}-*.tsv")
        found = [path for folder in folders for name in names for path in root.glob(folder + name)]
    return [seconds for path in found if (seconds := _read(path)) is not None]


def cut_seconds(files: RunFiles, stage: str) -> list[float]:
    """Seconds after which an allocation's end cut the stage off: it needs more than that."""
    stops = stage_stops(files)
    return [stop.seconds for stop in stops if stop.stage == stage and stop.seconds > 0]


def _read(path: Path) -> float | None:
    """Seconds of one benchmark file; None for one that is being written."""
    try:
        with path.open(newline="") as file:
            return max(
                (float(row["s"]) for row in csv.DictReader(file, delimiter="\t")), default=None
            )
    except (OSError, ValueError, KeyError, TypeError):
        return None
