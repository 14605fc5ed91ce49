"""The whole plan of a run: its stages, its disk, its hours.

In: a Case. Out: a Plan, which the page prints and `--json` writes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from prime_core.planning import memory
from prime_core.planning.case import Case, StagePlan
from prime_core.planning.disk import Disk, disk_of
from prime_core.planning.memory import in_gib
from prime_core.planning.refusals import refusals
from prime_core.planning.stage_plans import stage_plans
from prime_core.planning.training_plans import training_of
from prime_core.run.stages import STOPPABLE


@dataclass(frozen=True)
class Total:
    """Totals of the run. Seconds of an iteration and of an evaluation are wall time."""

    iteration_seconds: float
    evaluation_seconds: float
    hours: float
    gpu_hours: float
    num_jobs: int


@dataclass(frozen=True)
class Plan:
    """A run's plan. case: what it starts from; problems: sentences on what cannot work."""

    case: Case
    stages: dict[str, StagePlan]
    disk: Disk
    total: Total
    problems: tuple[str, ...]


def plan(case: Case, disk_tb: float | None = None) -> Plan:
    """The plan of a run. disk_tb: space on the disk; None: not known."""
    stages = stage_plans(case)
    disk = _disk(case, stages)
    total = _total(case, stages)
    problems = tuple(refusals(case, stages, disk.most, total.gpu_hours, disk_tb))
    return Plan(case, stages, disk, total, problems)


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
    # A shorter stage leaves no checkpoint inside unless asked to stop; nor does any at 0 minutes.
    minutes = case.settings.training.checkpoint_minutes
    stopped = [
        name
        for name in case.settings.trained
        if name in stages and 0 < minutes * 60 < stages[name].seconds.total
    ]
    ranks = {name: case.machines[name].num_ranks for name in case.settings.trained}
    return disk_of(case.shapes, case.settings, case.work, case.dtype_bytes, ranks, stopped)


def _total(case: Case, stages: dict[str, StagePlan]) -> Total:
    settings = case.settings
    iteration, evaluation = _iteration_seconds(case, stages), _evaluation_seconds(case, stages)
    times = {
        "run": 1,
        "iteration": len(settings.own_iterations),
        "evaluation": len(case.work.evaluated_iterations),
    }
    seconds = _setup_seconds(case, stages)
    seconds += iteration * times["iteration"] + evaluation * times["evaluation"]
    gpu_seconds = sum(
        times[stage.each] * _gpu_seconds(case, stage, stages) for stage in stages.values()
    )
    # Jobs that are not planned here: selection, report, data and start models without SFT, or the
    # branch that takes these from another run.
    others = times["iteration"] + 1
    if settings.init_from:
        others += 1
    else:  # `band`, the choice among the problems that were tried
        others += 2 - settings.sft.enabled + bool(settings.data.difficulty)
    jobs = sum(times[stage.each] * stage.jobs for stage in stages.values()) + others
    return Total(iteration, evaluation, seconds / 3600, gpu_seconds / 3600, jobs)


def _setup_seconds(case: Case, stages: dict[str, StagePlan]) -> float:
    return sum(
        _waves(case.num_gpus, stage, stage.jobs) * stage.seconds.total
        for stage in stages.values()
        if stage.each == "run"
    )


def _gpu_seconds(case: Case, stage: StagePlan, stages: dict[str, StagePlan]) -> float:
    # Jobs of refill rounds are shorter than the first round's, for which the stage's seconds stand.
    if stage.stage != "sample":
        return stage.machine.num_gpus * stage.total_seconds
    first = case.settings.rollout.num_shards
    later = (stage.jobs - first) * _refill(case, stages)
    return stage.machine.num_gpus * (first * stage.seconds.total + later)


def _iteration_seconds(case: Case, stages: dict[str, StagePlan]) -> float:
    """Sampling, then training; side by side where staleness allows it and GPUs are left for both.

    in turn:        rollout(all GPUs) + learning
    side by side:   max(rollout(the GPUs that learning leaves), learning)
    """
    if "policy" not in stages:
        return 0.0
    # With lag an iteration's rollouts need no new weights (docs/decisions.md#staleness), so the two
    # may overlap, but only if each gets GPUs of its own.
    rollout, ways = _rollout_seconds(case, stages, case.num_gpus), _learning(case, stages)
    seconds = [rollout + learning for _, learning in ways]
    for gpus, learning in ways if case.settings.rollout.lag else ():
        left = case.num_gpus - gpus
        # Without GPUs both would share the same cores, and side by side is no faster.
        if 0 < stages["sample"].machine.num_gpus <= left:
            seconds.append(max(_rollout_seconds(case, stages, left), learning))
    return min(seconds)


def _rollout_seconds(case: Case, stages: dict[str, StagePlan], num_gpus: int) -> float:
    """Seconds from prompts to a batch on num_gpus: sampling, verification, selection."""
    sample, verify, rounds = stages["sample"], stages["verify"], case.settings.rollout.refill_rounds
    waves = _waves(num_gpus, sample, case.settings.rollout.num_shards)
    refill_verify = verify.seconds.start + verify.seconds.compute * _refill_share(case)
    first = waves * sample.seconds.total + verify.seconds.total
    later = rounds * (waves * _refill(case, stages) + refill_verify)
    return first + later + case.assumed.start_s  # selection


def _learning(case: Case, stages: dict[str, StagePlan]) -> list[tuple[int, float]]:
    """GPUs and seconds of each way from a batch to new weights: one stage after another, or the
    updates of PRM, value model and policy side by side where GPUs suffice for all of them.
    """
    estimates = [stages[name] for name in ("score", "values") if name in stages]
    updates = [stages[name] for name in ("prm", "value", "policy") if name in stages]
    gpus = [stage.machine.num_gpus for stage in updates]
    seconds = [stage.seconds.total for stage in updates]
    before = sum(stage.seconds.total for stage in estimates)
    ways = [(max(gpus), before + sum(seconds))]
    # With `before` the policy waits for scoring and scoring for the PRM
    # (docs/decisions.md#scoring-stage). Where sum and maximum are equal there is one update, or no
    # GPUs: all share the cores.
    if case.settings.prm.prm_update != "before" and case.num_gpus >= sum(gpus) > max(gpus):
        ways.append((sum(gpus), before + max(seconds)))
    return ways


def _refill(case: Case, stages: dict[str, StagePlan]) -> float:
    """Seconds of one sampling job of a refill round, which is smaller, or has nothing to do."""
    sample, share = stages["sample"].seconds, _refill_share(case)
    # Refill jobs are in the graph whether needed or not; one without work starts no engine and
    # writes empty tables (docs/decisions.md#refill-shards).
    if share == 0:
        return case.assumed.start_s
    # However few responses: the longest takes nearly as long as it did in the first round.
    return sample.start + sample.read + sample.compute * max(share, 0.3)


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
    at_once = max(case.num_gpus // max(evaluate.machine.num_gpus, 1), 1)
    # Benchmarks differ in length: no order of their jobs is shorter than either of the two.
    return max(evaluate.seconds.total, evaluate.total_seconds / at_once)


def _waves(num_gpus: int, stage: StagePlan, jobs: int) -> int:
    """How many jobs must run one after another for lack of GPUs."""
    at_once = num_gpus // max(stage.machine.num_gpus, 1)
    return math.ceil(jobs / max(at_once, 1))


def _variant(case: Case, checkpointing: bool) -> Case:
    changed = {"gradient_checkpointing": checkpointing}
    training = case.settings.training.model_copy(update=changed)
    return replace(case, settings=case.settings.model_copy(update={"training": training}))


def _gib(number: float) -> float:
    return number / 2**30
