r"""Chains with slips as solutions whose first wrong step is known: no one had to mark them.

In: names of sums, the task's shares of slips, a seed. Out: rows as `read_solutions` gives them,
with a separator of nothing: their steps are the pieces ``3+4=8, ``, ``8+5=13: ``, ``\boxed{13}``.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from prime_core.data.arithmetic import Terms, chain, question, shuffled, slips, terms_of
from prime_core.data.arithmetic_steps import first_wrong, read_steps
from prime_core.settings.data import ArithmeticTask

NUM_ROWS = 1000  # where the settings do not say how many


def generated_solutions(
    prompt_ids: Sequence[str], task: ArithmeticTask, num_rows: int, seed: int | str
) -> list[dict[str, Any]]:
    """Solutions of random problems, a share of slip_share with a wrong step.

    prompt_ids: of generated sums. Each row has `terms` too. Other seeds give other chains: one
    part's threshold is used on another's.
    """
    rng = random.Random(f"arithmetic solutions {seed}")
    return [
        _solution(number, shuffled(terms_of({"prompt_id": rng.choice(prompt_ids)}), rng), task, rng)
        for number in range(1, num_rows + 1)
    ]


def _solution(
    number: int, terms: Terms, task: ArithmeticTask, rng: random.Random
) -> dict[str, Any]:
    slipped = rng.random() < task.slip_share
    errors = slips(terms, task.max_error, task.cancel_share, rng) if slipped else {}
    response = chain(terms, errors)
    steps = read_steps(terms, response)
    assert steps is not None  # a sum of one term has no step, and the task has none
    return {
        "id": str(number),
        "terms": terms,
        "prompt": question(terms),
        "steps": [response[step.begin : step.end] for step in steps],
        "separator": "",
        "label": first_wrong(steps),
        "final_answer_correct": sum(errors.values()) == 0,
    }
