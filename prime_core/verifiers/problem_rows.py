"""Responses to problems as rows to judge: which verifier, and what it is told of the problem."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from prime_core.settings.verification import Verification
from prime_core.verifiers.function import problem_text
from prime_core.verifiers.judge.judging import is_judged
from prime_core.verifiers.pool import Row


def rows_to_judge(
    problems: pd.DataFrame,
    responses: Iterable[tuple[str, str]],
    rules: Verification,
    *,
    of_run: bool,
    questions: Mapping[str, str] | None = None,
) -> list[Row]:
    """Rows for pairs of prompt_id and text, in their order.

    problems: columns of PROMPTS. of_run: they are the run's own, training or held out, which a
    user's function judges whatever their ability (verification.function). questions: prompt_id ->
    the problem's text, for a judge.
    """
    known = {str(problem["prompt_id"]): problem for problem in problems.to_dict("records")}
    own = of_run and rules.function is not None
    # Of the others a question is no part of what their verdicts depend on.
    asked = {
        one: text
        for one, text in (questions or {}).items()
        if is_judged(known[one]["ability"], rules)
    }
    return [_row(known[one], text, own, asked.get(one, "")) for one, text in responses]


def _row(problem: dict[Any, Any], text: str, own: bool, question: str) -> Row:
    if own or problem["ability"] == "function":
        return Row("function", text, problem_text(problem))
    return Row(problem["ability"], text, problem["ground_truth"], question)
