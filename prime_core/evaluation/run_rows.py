"""Responses to a run's own problems as rows to judge."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from prime_core.data.prompts import problem_text
from prime_core.settings.run import Settings
from prime_core.settings.verification import Verification
from prime_core.verifiers.judge.judging import is_judged
from prime_core.verifiers.pool import Row
from prime_core.verifiers.problem_rows import rows_to_judge


def run_rows(
    problems: pd.DataFrame,
    responses: Iterable[tuple[str, str]],
    settings: Settings,
    rules: Verification,
) -> list[Row]:
    """Rows for pairs of prompt_id and text, in their order. problems: columns of PROMPTS."""
    questions = {
        one["prompt_id"]: problem_text(list(one["prompt"]), settings.data, one["ability"])
        for one in problems.to_dict("records")
        if is_judged(one["ability"], rules)
    }
    return rows_to_judge(problems, responses, rules, of_run=True, questions=questions)
