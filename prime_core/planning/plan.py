"""The whole plan of a run: its stages, its disk, its hours.

In: a Case. Out: a Plan, which the page prints and `--json` writes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from prime_core.planning import memory
from prime_core.planning.disk import Disk, disk_of
from prime_core.planning.memory import in_gib
from prime_core.planning.refusals import refusals
from prime_core.planning.stage_plans import (
    STOPPABLE,
    Case,
    StagePlan,
    stage_plans,
    training_of,
)


@dataclass(frozen=True)
class Total:
    """Of the run. Seconds of an iteration and of an evaluation as they follow each other."""

    iteration_seconds: float
    evaluation_seconds: float
    hours: float
    gpu_hours: float
    num_jobs: int


@dataclass(frozen=True)
class Plan:
    """case: what it starts from; problems: sentences on what cannot work."""

    case: Case
    stages: dict[str, StagePlan]
    disk: Disk
    total: Total
    problems: tuple[str, ...]


def plan(case: Case, disk_tb: float | None = None) -> Plan:
    """The plan of a run. disk_tb: room on the disk; None: not known."""
    stages = stage_plans(case)
    disk = _disk(case, stages)
    total = _total(case, stages)
    problems = tuple(refusals(case, stages, disk.most, total.gpu_hours, disk_tb))
    return Plan(case, stages, disk, total, problems)


def checkpointing_choices(case: Case) -> dict[str, tuple[float, float]]:
    """GiB of a GPU of each training stage without and with gradient checkpointing."""
    found = {}
    for stage in STOPPABLE:
        if stage in case.machines and (stage != "sft" or case.settings.sft.enabled):
            totals = [
                sum(memory.training_memory(case.shape, training_of(variant, stage)).values())
                for variant in (_variant(case, False), _variant(case, True))
            ]
            found[stage] = (_gib(totals[0] + case.reserve), _gib(totals[1] + case.reserve))
    return found


def as_dict(found: Plan) -> dict[str, Any]:
    """For programs. Memory in GiB, disk in GB, times in seconds where nothing else is said."""
    case = found.case
    return {
        "run": case.settings.run,
        "num_parameters": case.shape.num_parameters,
        "gpu": {"name": case.gpu.name, "memory_gib": case.gpu.memory_gib},
        "num_gpus": case.num_gpus,
        "stages": {name: _stage_dict(stage) for name, stage in found.stages.items()},
        "disk_gb": {
            "model": found.disk.model / 1e9,
            "training_state": {name: size / 1e9 for name, size in found.disk.states.items()},
            "tables": found.disk.tables / 1e9,
            "at_end": found.disk.at_end / 1e9,
            "most": found.disk.most / 1e9,
        },
        "kept_iterations": list(found.disk.kept),
        "num_files": found.disk.num_files,
        "iteration_seconds": found.total.iteration_seconds,
        "evaluation_seconds": found.total.evaluation_seconds,
        "hours": found.total.hours,
        "gpu_hours": found.total.gpu_hours,
        "num_jobs": found.total.num_jobs,
        "assumptions": case.assumed.model_dump() | {"disk_gb_per_s": case.disk_gb_per_s},
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
        "seconds": {
            "start": stage.seconds.start,
            "read": stage.seconds.read,
            "compute": stage.seconds.compute,
            "write": stage.seconds.write,
            "total": stage.seconds.total,
        },
        "runtime_minutes": stage.machine.runtime,
    }


def _disk(case: Case, stages: dict[str, StagePlan]) -> Disk:
    minutes = case.settings.training.checkpoint_minutes
    stopped = [
        stage
        for name, stage in stages.items()
        if name in ("policy", "prm") and 0 < minutes * 60 < stage.seconds.total
    ]
    ranks = {name: case.machines[name].num_ranks for name in ("policy", "prm")}
    return disk_of(case.shape, case.settings, case.work, case.dtype_bytes, ranks, len(stopped))


def _total(case: Case, stages: dict[str, StagePlan]) -> Total:
    iteration, evaluation = _iteration_seconds(case, stages), _evaluation_seconds(case, stages)
    setup = sum(stage.seconds.total for stage in stages.values() if stage.each == "run")
    times = {
        "run": 1,
        "iteration": case.settings.iterations,
        "evaluation": len(case.work.evaluated_iterations),
    }
    seconds = setup + iteration * times["iteration"] + evaluation * times["evaluation"]
    gpu_seconds = sum(
        times[stage.each] * _gpu_seconds(case, stage, stages) for stage in stages.values()
    )
    # Beside the stages planned here: data, selection, report, and start models without SFT.
    others = 3 + case.settings.iterations - case.settings.sft.enabled
    jobs = sum(times[stage.each] * stage.jobs for stage in stages.values()) + others
    return Total(iteration, evaluation, seconds / 3600, gpu_seconds / 3600, jobs)


def _gpu_seconds(case: Case, stage: StagePlan, stages: dict[str, StagePlan]) -> float:
    if stage.stage != "sample":
        return stage.jobs * stage.machine.num_gpus * stage.seconds.total
    first = case.settings.rollout.num_shards
    later = (stage.jobs - first) * _refill(case, stages)
    return stage.machine.num_gpus * (first * stage.seconds.total + later)


def _iteration_seconds(case: Case, stages: dict[str, StagePlan]) -> float:
    """Sampling, then training; side by side where staleness allows it and GPUs are left for both.

    in turn:        rollout(all GPUs) + learning
    side by side:   max(rollout(the GPUs that learning leaves), learning)
    """
    rollout, ways = _rollout_seconds(case, stages, case.num_gpus), _learning(case, stages)
    seconds = [rollout + learning for _, learning in ways]
    for gpus, learning in ways if case.settings.rollout.lag else ():
        left = case.num_gpus - gpus
        if 0 < stages["sample"].machine.num_gpus <= left:
            seconds.append(max(_rollout_seconds(case, stages, left), learning))
    return min(seconds)


def _rollout_seconds(case: Case, stages: dict[str, StagePlan], num_gpus: int) -> float:
    """From prompts to a batch on so many GPUs: sampling, verification, selection."""
    sample, verify, rounds = stages["sample"], stages["verify"], case.settings.rollout.refill_rounds
    waves = _waves(num_gpus, sample, case.settings.rollout.num_shards)
    refill_verify = verify.seconds.start + verify.seconds.compute * _refill_share(case)
    first = waves * sample.seconds.total + verify.seconds.total
    later = rounds * (waves * _refill(case, stages) + refill_verify)
    return first + later + case.assumed.start_s  # selection


def _learning(case: Case, stages: dict[str, StagePlan]) -> list[tuple[int, float]]:
    """GPUs and seconds of the ways from a batch to new weights: PRM and policy one after the
    other, or side by side where there are GPUs for both.
    """
    policy, prm = stages["policy"], stages.get("prm")
    scoring = stages["score"].seconds.total if "score" in stages else 0.0
    if prm is None:
        return [(policy.machine.num_gpus, scoring + policy.seconds.total)]
    gpus = policy.machine.num_gpus, prm.machine.num_gpus
    seconds = policy.seconds.total, prm.seconds.total
    ways = [(max(gpus), scoring + sum(seconds))]
    if case.settings.prm.prm_update == "after" and case.num_gpus >= sum(gpus):
        ways.append((sum(gpus), scoring + max(seconds)))
    return ways


def _refill(case: Case, stages: dict[str, StagePlan]) -> float:
    """Seconds of one sampling job of a refill round, which are smaller, or have nothing to do."""
    sample, share = stages["sample"].seconds, _refill_share(case)
    if share == 0:
        return case.assumed.start_s
    return sample.start + sample.read + sample.compute * max(share, 0.3)  # the longest response


def _refill_share(case: Case) -> float:
    """Responses of a refill round, over those of the first."""
    work, rounds = case.work, case.settings.rollout.refill_rounds
    if not rounds:
        return 0.0
    return (work.sampled_responses - work.first_responses) / rounds / work.first_responses


def _evaluation_seconds(case: Case, stages: dict[str, StagePlan]) -> float:
    evaluate = stages.get("evaluate")
    if evaluate is None:
        return 0.0
    return _waves(case.num_gpus, evaluate, evaluate.jobs) * evaluate.seconds.total


def _waves(num_gpus: int, stage: StagePlan, jobs: int) -> int:
    """How often jobs must follow each other for lack of GPUs."""
    at_once = num_gpus // max(stage.machine.num_gpus, 1)
    return math.ceil(jobs / max(at_once, 1))


def _variant(case: Case, checkpointing: bool) -> Case:
    changed = {"gradient_checkpointing": checkpointing}
    training = case.settings.training.model_copy(update=changed)
    return replace(case, settings=case.settings.model_copy(update={"training": training}))


def _gib(number: float) -> float:
    return number / 2**30
