"""`prime logs 12 policy`: the log of a stage, or of the run's controller.

In: what was asked for, loosely. Out: which file it is, and its text. Where the stage itself wrote
nothing, Slurm's log of its job is shown.
"""

from __future__ import annotations

import codecs
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.workflow_job import log_of
from prime_core.launch.status.stage_logs import logs_of_stages, newest
from prime_core.run.job_records import SubmittedJob, controller_starts, submitted_jobs
from prime_core.run.layout import RunFiles
from prime_core.run.stages import Stage
from prime_core.runtime.console import harmless, note

_SECONDS_BETWEEN_LOOKS = 0.5


class NoLog(ValueError):
    """No such log exists, or not yet."""


def show(run_dir: Path, words: Sequence[str], part: str | None, follow: bool) -> None:
    """Print a log, its name first. Raises NoLog naming those that exist."""
    path, others = find_log(RunFiles(run_dir), words, part)
    # On stderr: standard output is the log alone, for a pipe.
    note(f"==> {path} <=={others}")
    if follow:
        _follow(path)
    else:
        sys.stdout.write(_shown(path.read_text(encoding="utf-8", errors="replace")))


def find_log(files: RunFiles, words: Sequence[str], part: str | None) -> tuple[Path, str]:
    """The log that `[ITERATION] [STAGE]` names, the newest of several; and a note on the others."""
    if not words:
        return _controller_log(files), ""
    iteration, name = _meant(words)
    logs, jobs = logs_of_stages(files), submitted_jobs(files)
    there_are = {*logs, *(job.work for job in jobs)}
    found = {
        stage
        for stage in there_are
        if (iteration is None or stage.iteration == iteration)
        and (name is None or stage.name == name)
        # Names of files have shards in two digits, people say `--part 3`.
        and (part is None or stage.part == part or stage.part == part.zfill(2))
    }
    if not found:
        asked = " ".join([*words, *([f"--part {part}"] if part else [])])
        raise NoLog(f"{files.root}: no log of '{asked}'; available: {_listed(there_are)}")
    written = {stage for stage in found if stage in logs and logs[stage].stat().st_size > 0}
    if written:
        stage = newest(written, logs)
        path = logs[stage]
    else:
        stage = max(found, key=lambda stage: _last(jobs, stage))
        path = _slurm_log(files, jobs, stage) or logs.get(stage) or _none(files, stage)
    others = sorted(other for other in found if other != stage)
    return path, f" (also: {_short(others)})" if others else ""


def _meant(words: Sequence[str]) -> tuple[int | None, str | None]:
    """Iteration and stage, in either order."""
    numbers = [word for word in words if word.isdigit()]
    names = [word for word in words if not word.isdigit()]
    if len(numbers) > 1 or len(names) > 1:
        raise NoLog(f"expected [ITERATION] [STAGE], e.g. 12 policy, found '{' '.join(words)}'")
    return (int(numbers[0]) if numbers else None), (names[0] if names else None)


def _controller_log(files: RunFiles) -> Path:
    """Log of the newest controller: its job's, else Snakemake's own."""
    paths = [Path(start.log) for start in controller_starts(files) if start.log]
    paths += [
        log_of(files.controller_folder, start.slurm_job)
        for start in controller_starts(files)
        if start.slurm_job
    ]
    paths += files.controller_folder.glob("*_log.out")
    written = [path for path in paths if path.exists()]
    if not written:
        raise NoLog(
            f"{files.root}: no controller was launched for this run; Snakemake's log is in "
            ".snakemake/log, where it was started; a stage's: prime logs 12 policy"
        )
    # The job's own log holds Snakemake's lines as well, and what stopped it.
    jobs = [path for path in written if path.parent == files.controller_folder]
    return max(jobs or written, key=lambda path: path.stat().st_mtime_ns)


def _slurm_log(files: RunFiles, jobs: Sequence[SubmittedJob], stage: Stage) -> Path | None:
    """Slurm's log of the stage's newest job."""
    for job in reversed(jobs):
        if job.work == stage:
            for path in _places(files, job.job_id):
                if path.is_file():
                    return path
    return None


def _places(files: RunFiles, job_id: str) -> Iterable[Path]:
    # Snakemake writes them where it was started: some folder above the run's.
    for folder in (Path(), *files.root.absolute().parents):
        yield from (folder / ".snakemake" / "slurm_logs").rglob(f"{job_id}.log")
    # Last, since Slurm tells the path only as long as it remembers the job.
    if slurm.is_available():
        try:
            words = slurm.call("scontrol", "show", "job", job_id).split()
        except slurm.SlurmError:
            return
        yield from (Path(word[len("StdOut=") :]) for word in words if word.startswith("StdOut="))


def _none(files: RunFiles, stage: Stage) -> Path:
    raise NoLog(f"{files.root}: {stage} was submitted and has written nothing yet")


def _last(jobs: Sequence[SubmittedJob], stage: Stage) -> float:
    return max((job.submitted for job in jobs if job.work == stage), default=0.0)


def _listed(stages: Iterable[Stage]) -> str:
    """All stages in short: "sft; sample, verify, policy of iterations 1 to 12"."""
    once = sorted({stage.name for stage in stages if stage.iteration == 0})
    later = sorted({stage.name for stage in stages if stage.iteration})
    numbers = [stage.iteration for stage in stages if stage.iteration]
    texts = [", ".join(once)] if once else []
    if later:
        texts.append(f"{', '.join(later)} of iterations {min(numbers)} to {max(numbers)}")
    return "; ".join(texts) or "none yet"


def _short(stages: Sequence[Stage]) -> str:
    shown = ", ".join(map(str, stages[:4]))
    return f"{shown} and {len(stages) - 4} more" if len(stages) > 4 else shown


def _follow(path: Path) -> None:
    """Print a file and what is appended, until interrupted; a new attempt's from its beginning."""
    file: BinaryIO = path.open("rb")
    # A character may be cut between two chunks.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    try:
        while True:
            chunk = file.read(65536)
            if chunk:
                sys.stdout.write(_shown(decoder.decode(chunk)))
                sys.stdout.flush()
                continue
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            if path.exists() and _was_replaced(file, path):
                file.close()
                file = path.open("rb")
    except KeyboardInterrupt:
        pass
    finally:
        file.close()


def _shown(text: str) -> str:
    """A log for a terminal: what commands it is written out, but for progress bars' \\r."""
    return "\r".join(map(harmless, text.split("\r")))


def _was_replaced(file: BinaryIO, path: Path) -> bool:
    now, here = path.stat(), os.fstat(file.fileno())
    return now.st_ino != here.st_ino or now.st_size < file.tell()
