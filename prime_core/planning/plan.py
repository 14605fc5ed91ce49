"""The whole plan of a run: its stages, its disk, its hours.

In: a Case. Out: a Plan, which the page prints and `--json` writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from prime_core.planning import memory
from prime_core.planning.case import Case, StagePlan
from prime_core.planning.critical_path import (
    Step,
    critical_path,
    refill_seconds,
    seconds_of,
    waves,
)
from prime_core.planning.disk import Disk, disk_of
from prime_core.planning.gpus import PROCESSORS
from prime_core.planning.memory import in_gib
from prime_core.planning.moving import memory_between
from prime_core.planning.refusals import refusals
from prime_core.planning.seconds import PHASES, Seconds
from prime_core.planning.stage_plans import stage_plans
from prime_core.planning.training_plans import training_of
from prime_core.run.stages import STOPPABLE


@dataclass(frozen=True)
class Total:
    """Totals of the run. Seconds of an iteration and of an evaluation are wall time.

    gpu_hours: what is held, in jobs of their own by the jobs, else all GPUs until the end.
    """

    iteration_seconds: float
    evaluation_seconds: float
    hours: float
    gpu_hours: float
    num_jobs: int


@dataclass(frozen=True)
class Plan:
    """A run's plan in one way. case: what it starts from; path: what of an iteration waits for one
    another; problems: sentences on what cannot work.
    """

    case: Case
    stages: dict[str, StagePlan]
    disk: Disk
    path: list[Step]
    total: Total
    problems: tuple[str, ...]


def plan(case: Case, disk_tb: float | None = None) -> Plan:
    """The plan of a run. disk_tb: space on the disk; None: not known."""
    stages = stage_plans(case)
    disk = _disk(case, stages)
    largest = max((stage.node_bytes for stage in stages.values()), default=0.0)
    # Without room for them an update writes its state to disk at once, in this way, too.
    if largest + sum(memory_between(case, disk).values()) > case.assumed.node_gb * 1e9:
        case = replace(case, states_fit=False)
        stages = stage_plans(case)
    path = critical_path(case, stages)
    total = _total(case, stages, path)
    problems = tuple(refusals(case, stages, disk.most, total.gpu_hours, disk_tb))
    return Plan(case, stages, disk, path, total, problems)


def checkpointing_choices(found: Plan) -> dict[str, tuple[float, float]]:
    """GiB of a GPU of each training stage without and with gradient checkpointing."""
    case, choices = found.case, {}
    for stage in STOPPABLE:
        if stage in found.stages:
            shape = case.shapes.of_stage(stage)
            totals = [
                sum(memory.training_memory(shape, training_of(variant, stage)).values())
                for variant in (_variant(case, False), _variant(case, True))
            ]
            choices[stage] = (_gib(totals[0] + case.reserve), _gib(totals[1] + case.reserve))
    return choices


def as_dict(found: Plan) -> dict[str, Any]:
    """The plan for `--json`: memory in GiB, disk in GB, times in seconds unless a key says else."""
    case = found.case
    return {
        "run": case.settings.run,
        "num_parameters": case.shape.num_parameters,
        "gpu": {"name": case.gpu.name, "memory_gib": case.gpu.memory_gib},
        "remarks": list(case.remarks),
        "num_gpus": case.num_gpus,
        "continued_token_ratio": case.work.continued_ratio,
        "stages": {name: _stage_dict(stage) for name, stage in found.stages.items()},
        "disk_gb": {
            "model": found.disk.model / 1e9,
            "training_state": {name: size / 1e9 for name, size in found.disk.states.items()},
            "conversion": found.disk.conversion / 1e9,
            "tables": found.disk.tables / 1e9,
            "at_end": found.disk.at_end / 1e9,
            "most": found.disk.most / 1e9,
        },
        "kept_iterations": list(found.disk.kept),
        "num_files": found.disk.num_files,
        "way": {"place": case.way.place, "resident": case.way.resident},
        "critical_path": [_step_dict(step) for step in found.path],
        "iteration_seconds": found.total.iteration_seconds,
        "evaluation_seconds": found.total.evaluation_seconds,
        "hours": found.total.hours,
        "gpu_hours": found.total.gpu_hours,
        "num_jobs": found.total.num_jobs,
        "assumptions": case.assumed.model_dump() | {"disk_gb_per_s": case.disk_gb_per_s},
        "measured": sorted(case.measured),
        "problems": list(found.problems),
    }


def _stage_dict(stage: StagePlan) -> dict[str, Any]:
    return {
        "jobs": stage.jobs,
        "each": stage.each,
        "gpus": stage.machine.num_gpus,
        "ranks": stage.machine.num_ranks,
        "gpu_gib": in_gib(stage.gpu) | {"total": _gib(stage.gpu_bytes)},
        "node_gib": _gib(stage.node_bytes),
        "seconds": _seconds_dict(stage.seconds),
        "runtime_minutes": stage.machine.runtime,
    }


def ways_dict(plans: Sequence[Plan]) -> dict[str, Any]:
    """The run in every way, for `--json`."""
    rows = [
        {
            "place": found.case.way.place,
            "resident": found.case.way.resident,
            "starts": num_starts(found.path),
            "iteration_seconds": found.total.iteration_seconds,
            "hours": found.total.hours,
            "gpu_hours": found.total.gpu_hours,
            "works": not found.problems,
        }
        for found in plans
    ]
    return {"ways": rows}


def num_starts(path: Sequence[Step]) -> int:
    """Processes and engines that start in an iteration while everything else waits for them."""
    return sum(step.seconds.starts for step in path)


def _step_dict(step: Step) -> dict[str, Any]:
    return {
        "stage": step.stage,
        "refill": step.refill,
        "starts": step.seconds.starts,
        "seconds": _seconds_dict(step.seconds),
    }


def _seconds_dict(seconds: Seconds) -> dict[str, float]:
    return {name: getattr(seconds, name) for name in PHASES} | {"total": seconds.total}


def _disk(case: Case, stages: dict[str, StagePlan]) -> Disk:
    # A shorter stage leaves no checkpoint inside unless asked to stop; nor does any at 0 minutes.
    minutes = case.settings.training.checkpoint_minutes
    stopped = [
        name
        for name in case.settings.trained
        if name in stages and 0 < minutes * 60 < stages[name].seconds.total
    ]
    ranks = {name: case.machines[name].num_ranks for name in case.settings.trained}
    return disk_of(
        case.shapes,
        case.settings,
        case.work,
        case.dtype_bytes,
        ranks,
        stopped,
        case.states_in_memory,
    )


def _total(case: Case, stages: dict[str, StagePlan], path: list[Step]) -> Total:
    settings = case.settings
    iteration, evaluation = seconds_of(path), _evaluation_seconds(case, stages)
    times = {
        "run": 1,
        "iteration": len(settings.own_iterations),
        "evaluation": len(case.work.evaluated_iterations),
    }
    seconds = _setup_seconds(case, stages)
    seconds += iteration * times["iteration"] + evaluation * times["evaluation"]
    gpu_seconds = seconds * case.num_gpus * (case.gpu != PROCESSORS)
    if case.way.place == "slurm":
        gpu_seconds = sum(
            times[stage.each] * _gpu_seconds(case, stage, stages) for stage in stages.values()
        )
    # Jobs that are not planned here: selection, report, data and start models without SFT, or the
    # branch that takes these from another run.
    others = times["iteration"] * (1 + case.states_in_memory * len(settings.trained)) + 1
    if settings.init_from:
        others += 1
    else:  # `band`, the choice among the problems that were tried
        others += 2 - settings.sft.enabled + bool(settings.data.difficulty)
    jobs = sum(times[stage.each] * stage.jobs for stage in stages.values()) + others
    return Total(iteration, evaluation, seconds / 3600, gpu_seconds / 3600, jobs)


def _setup_seconds(case: Case, stages: dict[str, StagePlan]) -> float:
    return sum(
        waves(case.num_gpus, stage, stage.jobs) * stage.seconds.total
        for stage in stages.values()
        if stage.each == "run"
    )


def _gpu_seconds(case: Case, stage: StagePlan, stages: dict[str, StagePlan]) -> float:
    # Jobs of refill rounds are shorter than the first round's, for which the stage's seconds stand.
    if stage.stage != "sample":
        return stage.machine.num_gpus * stage.total_seconds
    first = case.settings.rollout.num_shards
    later = (stage.jobs - first) * refill_seconds(case, stages).total
    return stage.machine.num_gpus * (first * stage.seconds.total + later)


def _evaluation_seconds(case: Case, stages: dict[str, StagePlan]) -> float:
    evaluate = stages.get("evaluate")
    if evaluate is None:
        return 0.0
    at_once = max(case.num_gpus // max(evaluate.machine.num_gpus, 1), 1)
    # Benchmarks differ in length: no order of their jobs is shorter than either of the two.
    return max(evaluate.seconds.total, evaluate.total_seconds / at_once)


def _variant(case: Case, checkpointing: bool) -> Case:
    changed = {"gradient_checkpointing": checkpointing}
    training = case.settings.training.model_copy(update=changed)
    return replace(case, settings=case.settings.model_copy(update={"training": training}))


def _gib(number: float) -> float:
    return number / 2**30
