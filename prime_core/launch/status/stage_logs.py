"""The stages of a run, found by the logs that they wrote: which have begun, which have finished.

In: a run's folder. Out: stages with their logs. Logs mirror outputs: logs/sft.log,
logs/iterations/0012/verify-00.log, logs/evaluations/0012/validation.log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from prime_core.run.layout import RunFiles
from prime_core.run.stages import STAGES, Stage, result_of, stage_of

_ENDED_BY_SLURM = re.compile(
    r"\*\*\* (?:JOB|STEP) \S+ ON (?P<node>\S+) CANCELLED AT (?P<when>\S+)(?: (?P<why>.+?))? \*\*\*"
)


def logs_of_stages(files: RunFiles) -> dict[Stage, Path]:
    """The log of every stage that has begun."""
    root = files.root / "logs"
    found = {stage_of(path.relative_to(root)): path for path in sorted(root.rglob("*.log"))}
    # The resident process has a log there, too.
    return {stage: path for stage, path in found.items() if stage.name in STAGES}


def unfinished(files: RunFiles, logs: dict[Stage, Path]) -> list[Stage]:
    """Stages that have begun and have written no result since."""
    found = []
    for stage, log in logs.items():
        result = result_of(files, stage)
        # A minute's grace: a stage still logs after it has written its result.
        if not result.exists() or result.stat().st_mtime < log.stat().st_mtime - 60:
            found.append(stage)
    return found


def newest(stages: Iterable[Stage], logs: dict[Stage, Path]) -> Stage:
    """The one that wrote last."""
    return max(stages, key=lambda stage: logs[stage].stat().st_mtime_ns)


def last_error(log: Path) -> str:
    """The last line that names an error; "" where none does."""
    # srun's lines only repeat that a task exited
    errors = [line for line in _lines(log) if "error" in line.lower() and line[:5] != "srun:"]
    return in_words((errors or [""])[-1])


def in_words(line: str) -> str:
    """A line of Slurm's about a job that it ended, as people say it; any other as it is."""
    ended = _ENDED_BY_SLURM.search(line)
    if ended is None:
        return line
    why = f", {ended['why'].lower()}" if ended["why"] else ""
    return f"cancelled on {ended['node']} at {ended['when'].replace('T', ' ')}{why}"


def last_line(log: Path) -> str:
    """The last line that is not blank; "" where there is none."""
    return (_lines(log) or [""])[-1]


def _lines(log: Path) -> list[str]:
    return [line.strip() for line in _tail(log).splitlines() if line.strip()]


def _tail(path: Path, size: int = 20_000) -> str:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - size, 0))
        # Progress bars overwrite their line with \r: each state would be part of one long line.
        return file.read().decode(errors="replace").replace("\r", "\n")
