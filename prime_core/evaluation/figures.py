"""Figures of judged responses to a benchmark: accuracy, pass@k, majority, best of n.

In: rows of EVALUATION (with `score` where responses are scored). Out: flat numbers, each figure
with its 95 % interval as <figure>_low and <figure>_high. A response is right if it
passes wholly (verdict `correct`). One without a verdict is not counted; a problem with fewer than k
judged responses does not count in pass@k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from prime_core.evaluation.statistics.intervals import mean_interval, pass_at_k
from prime_core.evaluation.statistics.voting import best_of, group_answers, majority, vote_weight
from prime_core.verifiers.resumable import is_right

Figures = dict[str, Any]


def evaluation_figures(
    rows: list[dict[str, Any]], n_samples: int, has_answers: bool, has_rewards: bool = False
) -> Figures:
    """All figures of n_samples responses to each problem.

    has_rewards: outcomes are rewards, whose mean is a figure of its own (verification.function).
    has_answers: responses end in answers that may agree (mathematics), and so can be voted on.
    Raises ValueError where no response has a verdict.
    """
    table = pd.DataFrame(rows)
    judged = judged_responses(table)
    # groupby keeps the order within a problem: ties go to the response that was sampled first.
    problems = [part for _, part in judged.groupby("prompt_id")]
    figures: Figures = {
        "num_problems": len(problems),
        "num_no_verdict": len(table) - len(judged),
        "n_samples_per_prompt": n_samples,
    }
    figures |= _figure("accuracy", [part["right"].mean() for part in problems])
    if has_rewards:
        figures |= _figure("reward", [part["outcome"].mean() for part in problems])
    if n_samples == 1:
        return figures
    for k in orders_of_pass_at_k(n_samples):
        enough = [part["right"] for part in problems if len(part) >= k]
        if enough:
            shares = [pass_at_k(len(right), int(right.sum()), k) for right in enough]
            figures |= _figure(f"pass@{k}", shares)
    for name, choose in _choices(table, has_answers).items():
        chosen = [_chosen_outcome(part, choose) for part in problems]
        figures |= _figure(f"{name}@{n_samples}", chosen)
    return figures


def judged_responses(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with a verdict, and `right`: 1.0 for whole passes, else 0.0.

    With partial credit the outcome may be a share of tests that pass, even 1 where the verdict is
    `wrong`; accuracy and pass@k count programs that pass all tests.
    """
    judged = table[table["outcome"].notna()]
    return judged.assign(right=is_right(judged).astype("float64"))


def orders_of_pass_at_k(n_samples: int) -> list[int]:
    """The k of pass@k: powers of two below n, and n; pass@1 is the accuracy."""
    powers = [2**i for i in range(1, n_samples.bit_length()) if 2**i < n_samples]
    return [*powers, n_samples] if n_samples > 1 else []


Choose = Callable[[pd.DataFrame], int | None]


def _choices(table: pd.DataFrame, has_answers: bool) -> dict[str, Choose]:
    """How one response of several is chosen, by the figure's name."""
    has_scores = "score" in table
    choices: dict[str, Choose] = {}
    if has_answers:
        choices["maj"] = lambda part: majority(_groups(part))
    if has_scores:
        choices["bon"] = lambda part: best_of(list(part["score"]))
    if has_answers and has_scores:
        choices["weighted_maj"] = lambda part: majority(
            _groups(part), [vote_weight(score) for score in part["score"]]
        )
    return choices


def _chosen_outcome(part: pd.DataFrame, choose: Choose) -> float:
    """1 if the chosen response is right; 0 where none has an answer."""
    index = choose(part)
    return 0.0 if index is None else float(part["right"].iloc[index])


def _groups(part: pd.DataFrame) -> list[int | None]:
    """Numbers of equal answers, as the verifier of mathematics compares them."""
    from prime_core.verifiers.math.compare import compare

    # Equality of texts would split the votes of 0.5 and \frac{1}{2}. docs/decisions.md#votes
    answers = [None if pd.isna(text) else str(text) for text in part["extracted"]]
    return group_answers(answers, lambda one, other: compare(one, other).same is True)


def _figure(name: str, problem_means: list[float]) -> Figures:
    mean, low, high = mean_interval(np.asarray(problem_means, dtype=float))
    return {name: mean, f"{name}_low": low, f"{name}_high": high}
