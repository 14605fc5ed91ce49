"""The jobs of an iteration that wait for one another, from prompts to new weights.

In: a Case and its stages' plans. Out: Steps, one a job or a wave of jobs that GPUs do not suffice
for at once; their seconds add up to those of the iteration.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from prime_core.planning.case import Case, StagePlan
from prime_core.planning.seconds import Seconds
from prime_core.run.stages import STAGES

Stages = Mapping[str, StagePlan]


@dataclass(frozen=True)
class Step:
    """seconds: of a stage's jobs, wave after wave. refill: the round, 0: the first."""

    stage: str
    num_gpus: int
    seconds: Seconds
    refill: int = 0


def seconds_of(steps: Sequence[Step]) -> float:
    """Seconds of steps one after another."""
    return sum(step.seconds.total for step in steps)


def critical_path(case: Case, stages: Stages) -> list[Step]:
    """Sampling, then training; the longer of the two where they run side by side.

    in turn:        rollout(all GPUs) + learning
    side by side:   max(rollout(the GPUs that learning leaves), learning)
    """
    if "policy" not in stages:
        return []
    rollout, learning_ways = _rollout(case, stages, case.num_gpus), _learning(case, stages)
    paths = [rollout + learning for _, learning in learning_ways]
    # With lag an iteration's rollouts need no new weights (docs/decisions.md#staleness), so the two
    # may overlap, but only if each gets GPUs of its own.
    for gpus, learning in learning_ways if case.settings.rollout.lag else ():
        left = case.num_gpus - gpus
        # Without GPUs both would share the same cores, and side by side is no faster.
        if 0 < stages["sample"].machine.num_gpus <= left:
            paths.append(max(_rollout(case, stages, left), learning, key=seconds_of))
    shortest = min(paths, key=seconds_of)
    return [*shortest, *_waiting(stages, shortest)]


def waves(num_gpus: int, stage: StagePlan, jobs: int) -> int:
    """How many jobs must run one after another for lack of GPUs."""
    at_once = num_gpus // max(stage.machine.num_gpus, 1)
    return math.ceil(jobs / max(at_once, 1))


def refill_seconds(case: Case, stages: Stages) -> Seconds:
    """Seconds of one sampling job of a refill round, which is smaller, or has nothing to do."""
    sample, share = stages["sample"].seconds, refill_share(case)
    # Refill jobs are in the graph whether needed or not; one without work starts no engine and
    # writes empty tables (docs/decisions.md#refill-shards).
    if share == 0:
        return case.idle_seconds("sample")
    # However few responses: the longest takes nearly as long as it did in the first round.
    return replace(sample, compute=sample.compute * max(share, 0.3))


def refill_share(case: Case) -> float:
    """Responses of a refill round, over those of the first."""
    work, rounds = case.work, case.settings.rollout.refill_rounds
    if not rounds:
        return 0.0
    return (work.sampled_responses - work.first_responses) / rounds / work.first_responses


def _rollout(case: Case, stages: Stages, num_gpus: int) -> list[Step]:
    """From prompts to a batch on num_gpus: sampling, verification, selection."""
    sample, verify = stages["sample"], stages["verify"]
    gpus = sample.machine.num_gpus
    number = waves(num_gpus, sample, case.settings.rollout.num_shards)
    steps = [
        Step("sample", gpus, sample.seconds.times(number)),
        Step("verify", 0, verify.seconds),
    ]
    later = replace(verify.seconds, compute=verify.seconds.compute * refill_share(case))
    for a_round in range(1, 1 + case.settings.rollout.refill_rounds):
        steps += [
            Step("sample", gpus, refill_seconds(case, stages).times(number), a_round),
            Step("verify", 0, later, a_round),
        ]
    return [*steps, Step("select", 0, case.seconds("select"))]


def _learning(case: Case, stages: Stages) -> list[tuple[int, list[Step]]]:
    """GPUs and steps of each way from a batch to new weights: one stage after another, or the
    updates of PRM, value model and policy side by side where GPUs suffice for all of them.
    """
    # With `before` scoring waits for the PRM (docs/decisions.md#scoring-stage).
    first = case.settings.prm.prm_update == "before"
    one, other = ("prm", "score") if first else ("score", "prm")
    order = (one, "values", "continuations", "step_values", other, "value", "policy")
    steps = {name: _step(case, stages[name]) for name in order if name in stages}
    updates = [steps[name] for name in ("prm", "value", "policy") if name in steps]
    gpus = [step.num_gpus for step in updates]
    ways = [(max(gpus), list(steps.values()))]
    # Where sum and maximum are equal there is one update, or no GPUs: all share the cores.
    if not first and case.num_gpus >= sum(gpus) > max(gpus):
        longest = max(updates, key=lambda step: step.seconds.total)
        before = [step for step in steps.values() if step not in updates]
        ways.append((sum(gpus), [*before, longest]))
    return ways


def _step(case: Case, stage: StagePlan) -> Step:
    """A stage of learning: one job, but for shards, which run in waves."""
    number = waves(case.num_gpus, stage, stage.jobs) if STAGES[stage.stage].shards else 1
    return Step(stage.stage, stage.machine.num_gpus, stage.seconds.times(number))


def _waiting(stages: Stages, path: Sequence[Step]) -> list[Step]:
    """What an update still waits for the copies of states that the iteration before has left."""
    copies = sum(stage.seconds.beside for stage in stages.values())
    before = itertools.takewhile(lambda step: not STAGES[step.stage].trains, path)
    left = max(copies - seconds_of(list(before)), 0.0)
    return [Step("policy", 0, Seconds(0, 0, 0, 0, 0, write=left, starts=0))] if left else []
