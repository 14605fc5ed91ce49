"""The stages below a Snakemake process, where its local executor runs them.

In: a process id. Out: the stages' own processes, to inspect or to ask to stop.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from prime_core.run.stages import STOPPABLE, Stage, part_of


class StageProcess:
    """A stage's process; with several ranks one of them, or the srun that launched them."""

    def __init__(self, process: psutil.Process, words: Sequence[str]) -> None:
        self.pid, self._process = process.pid, process
        self._through_srun = words[0] == "srun"
        self.seconds = time.time() - process.create_time()
        self.stage = _stage(words[words.index("prime") + 1 :])

    @property
    def can_stop(self) -> bool:
        """Whether it saves a checkpoint when it is asked to stop."""
        return self.stage.name in STOPPABLE

    def ask_to_stop(self) -> None:
        """Signal it; srun forwards USR2 to all ranks, but would end them at once on TERM."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process.send_signal(signal.SIGUSR2 if self._through_srun else signal.SIGTERM)


def running_stages(pid: int) -> Iterator[StageProcess]:
    """The stages among a process's descendants."""
    for process in below(pid):
        try:
            words = [Path(word).name if i < 2 else word for i, word in enumerate(process.cmdline())]
            # srun forks a copy of itself, which would look like a second stage.
            through_srun = words[:1] == ["srun"] and not _is_sruns_child(process)
        except psutil.Error:
            continue
        # python .../prime policy ..., or srun --nodes=2 ... prime policy ...
        # torchrun matches neither, and must not be signalled: half a minute later it kills its
        # ranks (docs/decisions.md#starting-ranks).
        starts_here = "prime" in words[:2] or (through_srun and "prime" in words)
        # `prime gpus` still waits for devices; it has no checkpoint to stop at.
        if starts_here and words[-1] != "prime" and words[words.index("prime") + 1] != "gpus":
            with contextlib.suppress(psutil.Error):
                yield StageProcess(process, words)


def kill_all(pid: int) -> None:
    """Kill a process and all its descendants at once."""
    for process in below(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    # Last: children of a dead process are no longer found below it.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def below(pid: int) -> list[psutil.Process]:
    """All descendants of a process; none where it has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _is_sruns_child(process: psutil.Process) -> bool:
    parent = process.parent()
    return parent is not None and parent.name() == "srun"


def _stage(words: Sequence[str]) -> Stage:
    """The stage of a command line: policy --run results/x --iteration 12."""

    def value(option: str) -> str:
        return words[words.index(option) + 1] if option in words[:-1] else ""

    shard, iteration = value("--shard"), value("--iteration")
    named = {name: value(f"--{name}") for name in ("benchmark", "of", "model")}
    part = part_of(named | ({"shard": shard} if shard.isdigit() else {}))
    name = words[0].replace("-", "_")  # a command prm-offline is the stage prm_offline
    return Stage(int(iteration) if iteration.isdigit() else 0, name, part)
