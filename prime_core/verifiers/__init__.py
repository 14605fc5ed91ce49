"""Verifiers by ability: one function each, (response, ground_truth, rules) -> Judgement.

To add one, write a function and a line in VERIFIERS. A verifier is imported when its first row is
judged, so that rows of mathematics never pay for a sandbox, and a broken verifier breaks only its
own rows.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from prime_core.verifiers.verdict import Judgement, Verdict

__all__ = ["VERIFIERS", "Judgement", "Rules", "Verdict", "close", "math_gold", "prepare"]


@dataclass(frozen=True)
class Rules:
    """How responses are judged (config: verification).

    timeout_seconds: wall-clock limit of one judgement, all tests of a program together.
    no_box: what a mathematical response without a box is worth.
    sandbox, memory_mb: isolation and memory of programs.
    """

    timeout_seconds: float = 60.0
    no_box: Literal["no_answer", "last_line"] = "no_answer"
    sandbox: Literal["auto", "bubblewrap", "namespaces", "none"] = "auto"
    memory_mb: int = 1024


def judge_math(response: str, ground_truth: str, rules: Rules) -> Judgement:
    """Mathematics: the boxed answer against the gold answers (math_gold)."""
    from prime_core.verifiers.math import SECONDS, judge

    seconds = min(SECONDS, rules.timeout_seconds / 2)
    return judge(response, **math_gold(ground_truth), no_box=rules.no_box, seconds=seconds)


def judge_code(response: str, ground_truth: str, rules: Rules) -> Judgement:
    """Programs: the last python block of a response against tests, a JSON object."""
    return _judge_program(response, ground_truth, rules, is_program=False)


def judge_program(program: str, ground_truth: str, rules: Rules) -> Judgement:
    """A program as it is, not in a response, against tests."""
    return _judge_program(program, ground_truth, rules, is_program=True)


def _judge_program(text: str, tests: str, rules: Rules, is_program: bool) -> Judgement:
    from prime_core.verifiers.code import Limits, judge

    limits = Limits(
        seconds=min(Limits.seconds, rules.timeout_seconds),
        total_seconds=rules.timeout_seconds,
        memory_mb=rules.memory_mb,
    )
    return judge(text, tests, limits=limits, sandbox=rules.sandbox, is_program=is_program)


VERIFIERS: dict[str, Callable[[str, str, Rules], Judgement]] = {
    "math": judge_math,
    "code": judge_code,
    "program": judge_program,
}


def prepare(ability: str, rules: Rules) -> None:
    """Do once, before processes are forked, what each of them would do first."""
    if ability == "math":
        import prime_core.verifiers.math  # noqa: F401
    else:
        from prime_core.verifiers.code import choose_sandbox

        choose_sandbox(rules.sandbox)


def close() -> None:
    """End the helper processes that this process's verifiers have started."""
    fallback = sys.modules.get("prime_core.verifiers.math.fallback")
    if fallback is not None:
        fallback.stop()
    judging = sys.modules.get("prime_core.verifiers.code.judging")
    if judging is not None:
        for (owner, _), judge in list(judging.warm_judges.items()):
            judging.close_quietly(judge, owner)


def math_gold(ground_truth: str) -> dict[str, Any]:
    """Keywords of the mathematical judge from a data row's ground truth.

    A plain string is the gold answer. A JSON list of strings holds several, each right by itself.
    A JSON object {"answer": ..., "answer_type": ..., "tolerance": ...} states how to compare too.
    """
    if ground_truth.lstrip()[:1] not in ("[", "{"):
        return {"ground_truth": ground_truth}
    try:
        value = json.loads(ground_truth)
    except (json.JSONDecodeError, RecursionError):
        return {"ground_truth": ground_truth}
    if isinstance(value, dict) and isinstance(value.get("answer"), str | list):
        return {
            "ground_truth": value["answer"],
            "answer_type": value.get("answer_type"),
            "tolerance": value.get("tolerance"),
        }
    if value and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return {"ground_truth": value}
    return {"ground_truth": ground_truth}
