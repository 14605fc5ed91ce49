"""The stages of a run whose time or memory matters.

In: a Case. Out: a StagePlan for each stage that computes with models, and for verification.
"""

from __future__ import annotations

from prime_core.planning.case import Case, StagePlan
from prime_core.planning.disk import model_bytes
from prime_core.planning.hardware import GIB
from prime_core.planning.sampling_plans import (
    continuations_plan,
    difficulty_plan,
    evaluate_plan,
    sample_plan,
    step_values_plan,
    verify_plan,
)
from prime_core.planning.training_plans import (
    prm_data_plan,
    score_plan,
    training_plan,
    values_plan,
)
from prime_core.run.stages import STAGES, stages_of_an_iteration

# Of an iteration. Training stages share one plan, and selection is too small to need one.
_PLANS = {
    "sample": sample_plan,
    "verify": verify_plan,
    "score": score_plan,
    "values": values_plan,
    "continuations": continuations_plan,
    "step_values": step_values_plan,
}


def stage_plans(case: Case) -> dict[str, StagePlan]:
    """Plans by stage, in the order of the workflow."""
    plans = [*_once(case), *_each_iteration(case)]
    if case.work.benchmarks or case.work.step_solutions:
        plans.append(evaluate_plan(case))
    return {plan.stage: plan for plan in plans}


def _once(case: Case) -> list[StagePlan]:
    settings, plans = case.settings, []
    if settings.init_from is None:  # a branch has them from its origin
        plans += [_build(case)]
        plans += [training_plan(case, "sft")] if settings.sft.enabled else []
        plans += [difficulty_plan(case)] if settings.data.difficulty else []
    # A branch from iteration 0 takes data and start models but trains its own PRM; from a later one
    # it takes the origin's.
    if settings.prm.offline and not settings.start:
        plans += [prm_data_plan(case), training_plan(case, "prm_offline")]
    return plans


def _each_iteration(case: Case) -> list[StagePlan]:
    if not case.settings.own_iterations:
        return []
    names = stages_of_an_iteration(case.settings)
    return [
        training_plan(case, name) if STAGES[name].trains else _PLANS[name](case)
        for name in names
        if STAGES[name].trains or name in _PLANS
    ]


def _build(case: Case) -> StagePlan:
    model = model_bytes(case.shape, case.dtype_bytes)
    return StagePlan(
        stage="build",
        each="run",
        jobs=1,
        machine=case.machines["build"],
        gpu={},
        host=model + case.assumed.host_gib * GIB,
        seconds=case.seconds("build", read=case.disk_seconds(model, model)),
    )
