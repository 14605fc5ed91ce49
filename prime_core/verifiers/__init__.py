"""Verifiers by ability: one record each in VERIFIERS, with all that judging and the pool need.

To add one:
 1. here, write its function, (response, ground_truth, rules) -> Judgement, and its record in
    VERIFIERS under the name of its ability, in lower case;
 2. add that name to Ability in prime_core/settings/verification.py. Problems may then ask for it:
    in their column `ability`, in data.sources.<name>.ability and in
    evaluation.benchmarks.<name>.ability;
 3. run `make schema`, since the schema of the settings lists the abilities;
 4. say in docs/verification.md what is judged under that name, and how.

A verifier's own modules are imported inside its functions, so that rows of mathematics never pay
for a sandbox, and a broken verifier breaks only its own rows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prime_core.verifiers.tolerance import tolerance_of
from prime_core.verifiers.verdict import Judgement, Verdict

if TYPE_CHECKING:  # helper processes import this file: none of them shall wait for pydantic
    from prime_core.settings.verification import Verification

__all__ = ["VERIFIERS", "Judgement", "Verdict", "Verifier", "close", "math_gold"]


@dataclass(frozen=True)
class Verifier:
    """How rows of one ability are judged, and what the pool (pool.py) has to know of them.

    judge: (response, ground_truth, rules) -> Judgement. What it raises is no verdict.
    prepare: called once, before processes are forked: what each of them would do first.
    close: ends the helper processes that `judge` has started in this process, if any.
    grace_seconds: what a row may take beyond twice rules.timeout_seconds, for starting helper
        processes from a cold disk.
    rows_in_chunk: rows that a worker is handed at once; 1 unless a row takes milliseconds.
    rows_worth_a_worker: rows that pay for the start of one more worker.
    """

    judge: Callable[[str, str, Verification], Judgement]
    prepare: Callable[[Verification], None]
    close: Callable[[], None]
    grace_seconds: float
    rows_in_chunk: int
    rows_worth_a_worker: int


def judge_math(response: str, ground_truth: str, rules: Verification) -> Judgement:
    """Mathematics: the boxed answer against the gold answers (math_gold)."""
    from prime_core.verifiers.math import SECONDS, judge

    seconds = min(SECONDS, rules.timeout_seconds / 2)
    return judge(response, **math_gold(ground_truth), no_box=rules.no_box, seconds=seconds)


def judge_missing(response: str, ground_truth: str, rules: Verification) -> Judgement:  # noqa: ARG001
    """Rows of the ability `judge` without a judge; where there is one, the pool never sees them."""
    raise ValueError("verification.judge is null, and problems of ability 'judge' have no rule")


def judge_code(response: str, ground_truth: str, rules: Verification) -> Judgement:
    """Programs: the last python block of a response against tests, a JSON object."""
    return _judge_program(response, ground_truth, rules, is_program=False)


def judge_program(program: str, ground_truth: str, rules: Verification) -> Judgement:
    """A program as it is, not in a response, against tests."""
    return _judge_program(program, ground_truth, rules, is_program=True)


def _judge_program(text: str, tests: str, rules: Verification, is_program: bool) -> Judgement:
    from prime_core.verifiers.code import Credit, Limits, judge

    limits = Limits(
        seconds=min(Limits.seconds, rules.timeout_seconds),
        total_seconds=rules.timeout_seconds,
        memory_mb=rules.memory_mb,
    )
    return judge(
        text,
        tests,
        limits=limits,
        credit=Credit(rules.partial_credit, rules.max_tests, rules.pass_rate_reward_threshold),
        sandbox=rules.sandbox,
        is_program=is_program,
        packages=tuple(rules.packages),
    )


def judge_own(response: str, problem: str, rules: Verification) -> Judgement:
    """A user's own function, on the problem's row as JSON (verification.function)."""
    from prime_core.verifiers import function

    return function.judge(response, problem, rules)


def judge_env(episode: str, task: str, rules: Verification) -> Judgement:
    """An episode in an environment, played again from its seed (data.env)."""
    from prime_core.verifiers import env

    return env.judge(episode, task, rules)


def _prepare_math(_: Verification) -> None:
    import prime_core.verifiers.math  # noqa: F401


def _prepare_sandbox(rules: Verification) -> None:
    from prime_core.verifiers.code import choose_sandbox

    choose_sandbox(rules.sandbox, tuple(rules.packages))


def _close_math() -> None:
    # Asked of sys.modules, not imported: who has not judged such a row has nothing to end.
    fallback = sys.modules.get("prime_core.verifiers.math.fallback")
    if fallback is not None:
        fallback.stop()


def _close_sandboxes() -> None:
    judging = sys.modules.get("prime_core.verifiers.code.judging")
    if judging is not None:
        for (owner, *_), judge in list(judging.warm_judges.items()):
            judging.close_quietly(judge, owner)


def _close_function() -> None:
    function = sys.modules.get("prime_core.verifiers.function")
    if function is not None:
        function.stop()


def _close_env() -> None:
    env = sys.modules.get("prime_core.verifiers.env")
    if env is not None:
        env.stop()


_MATH = Verifier(
    judge=judge_math,
    prepare=_prepare_math,
    close=_close_math,
    grace_seconds=60.0,
    rows_in_chunk=16,
    rows_worth_a_worker=8,
)
_CODE = Verifier(
    judge=judge_code,
    prepare=_prepare_sandbox,
    close=_close_sandboxes,
    grace_seconds=120.0,
    rows_in_chunk=1,
    rows_worth_a_worker=1,
)
VERIFIERS: dict[str, Verifier] = {
    "math": _MATH,
    "code": _CODE,
    "function": Verifier(
        judge=judge_own,
        prepare=lambda _: None,  # each worker loads the user's file in a process of its own
        close=_close_function,
        grace_seconds=120.0,
        rows_in_chunk=8,
        rows_worth_a_worker=8,
    ),
    # No ability that a table may name: its problems are made of the settings (data.env).
    "env": Verifier(
        judge=judge_env,
        prepare=lambda _: None,
        close=_close_env,
        grace_seconds=120.0,
        rows_in_chunk=8,
        rows_worth_a_worker=8,
    ),
    "judge": replace(_MATH, judge=judge_missing, prepare=lambda _rules: None),
    "program": replace(_CODE, judge=judge_program),  # no ability: of rows judged by hand alone
}


def close() -> None:
    """End the helper processes that this process's verifiers have started."""
    for verifier in VERIFIERS.values():
        verifier.close()


def math_gold(ground_truth: str) -> dict[str, Any]:
    """Keywords of the mathematical judge from a data row's ground truth.

    A plain string is the gold answer. A JSON list of strings holds several, each right by itself.
    A JSON object {"answer": ..., "answer_type": ..., "tolerance": ...} states how to compare too.
    ValueError for a tolerance that is none.
    """
    # Others may be JSON as well (0.5, true, "x"), but are meant as the answer's text.
    if ground_truth.lstrip()[:1] not in ("[", "{"):
        return {"ground_truth": ground_truth}
    try:
        value = json.loads(ground_truth)
    except (json.JSONDecodeError, RecursionError):  # an interval: [0, 1)
        return {"ground_truth": ground_truth}
    if isinstance(value, dict) and isinstance(value.get("answer"), str | list):
        stated = value.get("tolerance")
        return {
            "ground_truth": value["answer"],
            "answer_type": value.get("answer_type"),
            "tolerance": None if stated is None else tolerance_of(stated),
        }
    # A list with numbers in it is one answer; several answers are texts.
    if value and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return {"ground_truth": value}
    return {"ground_truth": ground_truth}
