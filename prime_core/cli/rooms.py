"""Stages and tools are imported when they are called, so that `--help` answers at once."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click

from prime_core.run.stages import STAGES, Stage, part_of
from prime_core.runtime import interruption
from prime_core.runtime.collector import collector_paused


def stage(name: str) -> ModuleType:
    """The module of a stage, in a process that knows its rank and listens for signals to stop."""
    _prepare_process()
    # After the ranks know their numbers: the first of them alone may defer the stage.
    # A state in memory goes with the allocation: to write it down is never too late.
    if "PRIME_DEADLINE" in os.environ and name != "save_state":
        _begin_in_time(name)
    _refuse_other_iterations(name)
    kind = STAGES.get(name)
    if kind and (kind.samples or kind.forward_only or kind.trains):
        import_module("prime_core.runtime.gpu_usage").watch_gpus()
    with collector_paused():
        return import_module(f"prime_core.stages.{name}")


def import_stages() -> None:
    """Import all stages, in a process that will be forked for each."""
    for path in sorted(Path(__file__).parent.parent.joinpath("stages").glob("[!_]*.py")):
        import_module(f"prime_core.stages.{path.stem}")


def tool(name: str) -> ModuleType:
    """The module of an interactive command, which begins whatever the allocation's deadline."""
    _prepare_process()
    return import_module(f"prime_core.tools.{name}")


def _prepare_process() -> None:
    # First: importing a stage takes seconds, and a warning meanwhile must not make it fail.
    interruption.listen(import_module("prime_core.launch.slurm.this_job").is_only_warned)
    import_module("prime_core.launch.slurm.ranks").set_up_rank()


def _refuse_other_iterations(name: str) -> None:
    """Name a user's mistake before a stage looks for files of an iteration that cannot exist."""
    given = click.get_current_context().params
    if given.get("run_dir") and given.get("iteration") is not None:
        import_module("prime_core.run.work").refuse_other_iterations(
            given["run_dir"], name, given["iteration"]
        )


def _begin_in_time(name: str) -> None:
    """Defer a stage of the workflow to the next allocation where this one has too little time."""
    given = click.get_current_context().params
    if given.get("run_dir"):
        work = Stage(given.get("iteration") or 0, name, part_of(given))
        import_module("prime_core.run.deadline").leave_if_too_late(given["run_dir"], work)
