"""Stages of one run after the other, by the resident process: as forks, or in workers that keep
their engines. `prime` stands for itself: the commands are those of the rules."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from prime_core.resident.protocol import ENGINES
from prime_core.run.layout import RunFiles
from prime_core.run.tables import read_json
from tests.support.made_up_batch import made_up_batch
from tests.support.workflow_runs import environment

KEPT = "continuing in the engine that wrote it"
ITERATIONS = (1, 2, 3)


def made_up_run(results: Path, **changes: Any) -> RunFiles:
    """A run of three iterations, each with the same batch; nothing is scored."""
    usual: dict[str, Any] = {
        "iterations": 3,
        "prm.prm_update": "before",
        "prm.optimizer.learning_rate": 1e-3,
    }
    files = made_up_batch(results, **(usual | changes))
    for iteration in ITERATIONS[1:]:
        files.batch(iteration).parent.mkdir(parents=True)
        shutil.copy(files.batch(1), files.batch(iteration))
    return files


def run_stage(
    files: RunFiles, stage: str, iteration: int, *, engines: bool, launcher: Sequence[str] = ()
) -> str:
    """Run a stage to its end; its log. launcher: of its ranks."""
    command = ["prime", stage, "--run", str(files.root), "--iteration", str(iteration)]
    done = subprocess.run(
        [*launcher, *command],
        env=environment() | ({ENGINES: "1"} if engines else {}),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def run_updates(
    files: RunFiles, stage: str, *, engines: bool, launcher: Sequence[str] = ()
) -> list[str]:
    """Three updates; their logs."""
    return [run_stage(files, stage, i, engines=engines, launcher=launcher) for i in ITERATIONS]


def differences(ours: RunFiles, theirs: RunFiles, stage: str) -> list[str]:
    """Files of three updates that differ, but for what a process used and the seconds."""
    found = []
    for iteration in ITERATIONS:
        one, two = (files.iteration(iteration) / stage for files in (ours, theirs))
        names = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
        assert names == {path.relative_to(two) for path in two.rglob("*") if path.is_file()}
        assert names
        found += [f"{iteration} {name}" for name in sorted(names) if not _equal(one, two, name)]
        if _figures(ours, iteration, stage) != _figures(theirs, iteration, stage):
            found.append(f"{iteration} metrics")
    return found


def _figures(files: RunFiles, iteration: int, stage: str) -> dict[str, Any]:
    metrics = read_json(files.metrics(iteration, stage))
    return {k: v for k, v in metrics.items() if not k.startswith(("timing_s/", "process/"))}


def _equal(one: Path, two: Path, name: Path) -> bool:
    if (one / name).read_bytes() == (two / name).read_bytes():
        return True
    if name.suffix != ".pt":
        return False
    # Pickles of the same numbers differ where one has an object twice and the other two of them.
    ours, theirs = (torch.load(folder / name, weights_only=False) for folder in (one, two))
    return _same(ours, theirs)


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(_same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(_same, one, two))
    return bool(one == two) or type(one).__module__.startswith("deepspeed")
