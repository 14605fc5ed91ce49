"""What of a run's folder its RO-Crate packs, and what it leaves out and why.

In: the folder of a run, finished or not. Out: files to pack, with what they are; a table of the
rest. Weights and training tables are never packed, an evaluation's responses only where they are
small. Links are not followed: they may lead out of the folder. docs/decisions.md#one-zip
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

MAX_TABLE_BYTES = 1_000_000
LEFT_OUT_COLUMNS = ("folder", "reason", "num_files", "num_bytes")
ENCODINGS = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".py": "text/x-python",
    ".parquet": "application/vnd.apache.parquet",
    ".svg": "image/svg+xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
WEIGHTS = ("models", "policy", "prm", "value")
OUT = {
    "weights": "weights and training states are left out",
    "large": f"larger than {MAX_TABLE_BYTES} bytes",
    "link": "a link",
    "table": "a training table",
    "figures": "its figures are in report/metrics.csv",
    "events": "the same figures as report/metrics.csv",
    "times": "its figures are in report/stages.csv",
    "log": "a log",
    "empty": "a table without rows",
    "other": "not part of the record",
}
ABOUT = {
    "config.yaml": "All settings of the run, defaults included.",
    "provenance.json": "Each start of the workflow: time, commit, versions, machine, seed.",
    "reward_function.py": "The user's function that judged responses (verification.function).",
    "report/report.html": "The report: one page without scripts.",
    "report/metrics.csv": "Figures of every iteration.",
    "report/evaluations.csv": "Figures of every evaluation, with 95 % intervals.",
    "report/stages.csv": "Seconds and memory by stage and iteration.",
    "report/cost.csv": "Hours, waiting and losses in Slurm by stage and iteration.",
    "report/reproduction.csv": "Published figures beside the run's, with differences.",
    "report/differing_settings.csv": "Settings that differ from the paper's run.",
    "slurm/accounting.json": "Every start of the run's Slurm jobs.",
}


@dataclass(frozen=True)
class Packed:
    """A file of the run in the crate; crate_path: its path there, as in the run's folder."""

    source: Path
    crate_path: str
    about: str

    @property
    def encoding(self) -> str:
        """Its media type."""
        return ENCODINGS.get(self.source.suffix, "text/plain")


def sort_files(run_dir: Path) -> tuple[list[Packed], pd.DataFrame]:
    """Files to pack, in a fixed order, and LEFT_OUT_COLUMNS: one row per folder and reason."""
    packed = []
    num_files: Counter[tuple[str, str]] = Counter()
    num_bytes: Counter[tuple[str, str]] = Counter()
    for path in _files(run_dir):
        crate_path = path.relative_to(run_dir)
        about, reason = _judge(path, crate_path)
        if about:
            packed.append(Packed(path, crate_path.as_posix(), about))
        else:
            key = (crate_path.parent.as_posix(), OUT[reason])
            num_files[key] += 1
            # Of the link itself: its target may lie outside the run, or be gone.
            num_bytes[key] += path.lstat().st_size
    rows = [(*key, num_files[key], num_bytes[key]) for key in sorted(num_files)]
    return packed, pd.DataFrame(rows, columns=list(LEFT_OUT_COLUMNS))


def _files(run_dir: Path) -> Iterator[Path]:
    """Files and links below a folder, without processes' hidden files and an earlier crate."""
    for folder, below, names in os.walk(run_dir):
        here = Path(folder)
        # In place: os.walk goes where this list says. Hidden ones are locks and unfinished outputs.
        below[:] = sorted(name for name in below if not name.startswith("."))
        # os.walk lists links to folders among folders and does not follow them: they are judged
        # here.
        links = [name for name in below if (here / name).is_symlink()]
        for name in sorted([*names, *links]):
            if not name.startswith(".") and (here / name) != run_dir / "ro-crate.zip":
                yield here / name


def _judge(path: Path, crate_path: Path) -> tuple[str, str]:
    """What a packed file is, or "" and why it is left out (a key of OUT)."""
    parts = crate_path.parts
    in_iteration = parts[0] == "iterations"
    # Before links, since a hub's model is only linked here and weights is the better reason.
    if parts[0] == "models" or (in_iteration and len(parts) > 2 and parts[2] in WEIGHTS):
        return "", "weights"
    if path.is_symlink():
        return "", "link"
    if path.suffix == ".csv" and parts[0] == "report" and _has_header_alone(path):
        return "", "empty"
    if str(crate_path) in ABOUT:
        return ABOUT[str(crate_path)], ""
    if parts[:2] == ("report", "plots") and path.suffix == ".svg":
        return "A figure of the report.", ""
    if parts[:2] == ("report", "tensorboard"):
        return "", "events"
    if parts[0] == "metrics" and path.suffix == ".json":
        return f"Figures of the stage {path.stem}, which runs once.", ""
    if parts[0] == "evaluations":
        return _judge_evaluation(path, parts)
    if in_iteration and "metrics" in parts:
        return "", "figures"
    if parts[0] == "benchmarks":
        return "", "times"
    if parts[0] == "logs":
        return "", "log"
    return "", "table" if path.suffix == ".parquet" else "other"


def _has_header_alone(path: Path) -> bool:
    with path.open("rb") as lines:
        next(lines, b"")
        return not next(lines, b"").strip()


def _judge_evaluation(path: Path, parts: tuple[str, ...]) -> tuple[str, str]:
    if len(parts) > 3:  # of a shard, whose responses are in the joined table
        return "", "figures"
    of = f"of {path.stem} at iteration {parts[1].lstrip('0') or '0'}" if len(parts) > 2 else ""
    if path.suffix == ".json" and of:
        return f"Accuracy {of}, with its 95 % interval.", ""
    if path.suffix == ".parquet" and of:
        small = path.stat().st_size <= MAX_TABLE_BYTES
        return (f"Judged responses {of}.", "") if small else ("", "large")
    return "", "other"
