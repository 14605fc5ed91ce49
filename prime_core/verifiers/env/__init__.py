"""Episodes in an environment: their actions are played again, from the seed, and it says how well.

In: an episode as JSON text (`episode_text`), and the problem's Task (ground_truth). Out: a
Judgement: the outcome is whether the last reward is above the task's threshold, or that reward
itself, cut to [0, 1], with partial credit. No verdict where the environment crashes, hangs, needs
too much memory, or answers otherwise than it did while the policy was sampled: a reward never rests
on the sampler's word.
"""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from prime_core.environments.process import (
    EnvironmentFault,
    EnvironmentProcess,
    Step,
    Task,
    digest,
)
from prime_core.verifiers.verdict import Judgement, Turns, Verdict

if TYPE_CHECKING:  # as elsewhere in this package: a worker shall not wait for pydantic
    from prime_core.settings.verification import Verification

_current: tuple[int, EnvironmentProcess] | None = None


def judge(response: str, ground_truth: str, rules: Verification) -> Judgement:
    """Play an episode again. Raises EnvironmentFault where that gives no verdict."""
    task, episode = Task.of(ground_truth), json.loads(response)
    actions, seen = episode["actions"], episode["states"]
    steps = _process(rules).replay(task, actions)
    # The observation behind the last action was shown to nobody.
    states = (task.state, *(digest(step.observation) for step in steps[:-1]))
    for number, (now, then) in enumerate(zip(states, seen, strict=True), start=1):
        if now != then:
            raise EnvironmentFault(
                f"{task.id} is not reproducible: from seed {task.seed} the observation before "
                f"action {number} is another one than when it was sampled"
            )
    return _judgement(task, steps, states, rules)


def _judgement(
    task: Task, steps: Sequence[Step], states: tuple[str, ...], rules: Verification
) -> Judgement:
    reward = steps[-1].reward if steps else 0.0
    detail = f"{task.id}: the last of {len(steps)} rewards is {reward:g}"
    turns = Turns(tuple(step.reward for step in steps), states, tuple(step.valid for step in steps))
    outcome = float(reward > task.success_threshold)
    if rules.partial_credit != "none":
        outcome = min(max(reward, 0.0), 1.0)
    verdict = Verdict.correct if outcome == 1 else Verdict.wrong
    return Judgement(verdict, None, detail, outcome=outcome, turns=turns)


def episode_text(row: dict[str, Any]) -> str:
    """What `judge` reads, of a response with its actions and the states that it saw; else its text.

    row: columns of ROLLOUTS.
    """
    actions = row.get("actions")
    if actions is None or isinstance(actions, float):  # NaN where other rows have the column
        return str(row["text"])
    return json.dumps({"actions": list(actions), "states": list(row["states"])})


def _process(rules: Verification) -> EnvironmentProcess:
    global _current
    if _current is None or _current[0] != os.getpid():
        _current = os.getpid(), EnvironmentProcess(rules.timeout_seconds, rules.memory_mb)
    return _current[1]


def stop() -> None:
    """End the environments' process, if there is one."""
    global _current
    if _current is not None:
        _current[1].close()
    _current = None


atexit.register(stop)
