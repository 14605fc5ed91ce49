"""A PRM's rewards of a run's own responses held against the truth of their steps.

In: responses to generated sums (the rule of prime_core.data.arithmetic_steps says which of their
steps are wrong), the text of each token, implicit rewards. Out: where each step's tokens lie, and
figures: does the PRM, which has seen outcomes alone, fall where the first wrong step is?

docs/prm.md#step-truth
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from prime_core.data.arithmetic import ID_PREFIX, terms_of
from prime_core.data.arithmetic_steps import first_wrong, read_steps
from prime_core.evaluation.statistics.first_errors import (
    NO_ERROR,
    ThresholdSearch,
    clean_above_lucky,
    falls_found,
    first_below,
    fixed_place,
    found,
    largest_fall,
    step_auc,
)


@dataclass(frozen=True)
class TrueSteps:
    """The steps of one chain.

    ends: [steps] tokens before each step's end; label: index of the first wrong step, -1: none;
    answer_correct: whether the boxed answer is the sum; falls: [steps] the sum of the implicit
    rewards of each step's tokens.
    """

    ends: list[int]
    label: int
    answer_correct: bool
    falls: list[float]

    @property
    def largest_fall(self) -> int:
        """Index of the step that the PRM lowers most."""
        return largest_fall(self.falls)

    def tokens(self, step: int) -> range:
        """Positions of a step's tokens, from 0 on."""
        return range(self.ends[step - 1] if step else 0, self.ends[step])


def true_steps(
    prompt_id: str, text: str, pieces: Sequence[str], rewards: Sequence[float]
) -> TrueSteps | None:
    """The steps of a response to a generated sum; None where it is no chain.

    prompt_id: names the sum's terms (arithmetic.problem_row). pieces: text of each token; rewards:
    of each token. The token that ends a response belongs to no step, as in `prime rate-steps`. A
    token that holds the end of one step and the beginning of the next ends the former.
    """
    if not prompt_id.startswith(ID_PREFIX):
        return None
    terms = terms_of({"prompt_id": prompt_id})
    steps = read_steps(terms, text)
    # A tokenizer that trims blanks does not give the text back, and places would be guesses.
    if steps is None or not "".join(pieces).startswith(text):
        return None
    begins = [0, *accumulate(map(len, pieces))][:-1]
    ends = [int(np.searchsorted(begins, step.end)) for step in steps]
    if any(begin >= end for begin, end in pairwise([0, *ends])):
        return None  # one token of several steps: no reward is of one of them alone
    sums = np.concatenate([[0.0], np.cumsum(rewards, dtype=float)])
    return TrueSteps(
        ends=ends,
        label=first_wrong(steps),
        answer_correct=text.rstrip().endswith(f"{{{sum(terms)}}}"),
        falls=np.diff(sums[[0, *ends]]).tolist(),
    )


def truth_metrics(chains: Sequence[TrueSteps], group: Sequence[int]) -> dict[str, float]:
    """Figures of a batch's chains; those that it has no chains for are left out.

    group: number of each chain's prompt. F1 is of the first step that falls below a threshold, as
    for published solutions (docs/prm.md#step-evaluation), chosen on every other prompt and used on
    the rest, then the other way round. steps/outcome_f1 is what pointing at the best fixed place
    of each wrong answer reaches, chosen on these very chains: the line to pass.
    """
    labels = [chain.label for chain in chains]
    correct = [chain.answer_correct for chain in chains]
    falls = [chain.falls for chain in chains]
    wrong = [label != NO_ERROR for label in labels]
    metrics: dict[str, float | None] = {
        "steps/num_chains": len(chains),
        "steps/num_wrong": sum(wrong),
        "steps/num_lucky": sum(a and b for a, b in zip(wrong, correct, strict=True)),
    }
    if chains:
        metrics |= {
            "steps/auc": step_auc(falls, labels),
            "steps/fall_on_wrong_share": falls_found(falls, labels),
            "steps/clean_above_lucky": clean_above_lucky(falls, labels, correct),
            "steps/f1": _f1_of_halves(falls, labels, group),
        }
        if 0 < sum(wrong) < len(wrong):
            best, _ = fixed_place([len(one) for one in falls], correct, labels)
            metrics["steps/outcome_f1"] = best.f1
    return {name: value for name, value in metrics.items() if value is not None}


def _f1_of_halves(
    falls: Sequence[Sequence[float]], labels: Sequence[int], group: Sequence[int]
) -> float | None:
    """F1 where each half's threshold is the other's; None where a half lacks one of the kinds."""
    halves = [[row for row, number in enumerate(group) if number % 2 == half] for half in (0, 1)]
    if any(len({labels[row] == NO_ERROR for row in rows}) < 2 for rows in halves):
        return None
    predicted: dict[int, int] = {}
    for rows, others in (halves, halves[::-1]):
        search = ThresholdSearch([falls[row] for row in others], [labels[row] for row in others])
        predicted |= {row: first_below(falls[row], search.best()) for row in rows}
    return found([predicted[row] for row in range(len(labels))], labels).f1
