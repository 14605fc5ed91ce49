"""How well a PRM's scores of steps find first errors, part by part, beside what outcomes alone do.

In: parts of solutions, each with the scores of its steps by name of the score. Out: for each part
and score: F1 with the threshold chosen on one part (`f1`), in sample (`best_f1`), their 95 %
bootstrap intervals, AUC, and the share of errors found in solutions that are right by luck.

docs/prm.md#step-evaluation
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prime_core.evaluation.statistics.first_errors import (
    NO_ERROR,
    ThresholdSearch,
    clean_above_lucky,
    f1_samples,
    falls_found,
    first_below,
    fixed_place,
    found,
    percentile_interval,
    resampled,
    step_auc,
)

SEED = 0  # of the bootstrap: the same rows give the same intervals
Figures = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """Solutions of one file: labels, whether the final answer is right (None: unknown), scores.

    scores: name of a score -> for each solution the scores of its steps.
    """

    labels: list[int]
    answer_correct: list[bool | None]
    scores: dict[str, list[list[float]]]


def step_figures(parts: dict[str, Part], chosen_on: str) -> dict[str, Figures]:
    """Figures of each part. chosen_on: the part on whose solutions thresholds are chosen."""
    names = parts[chosen_on].scores
    thresholds = {
        name: ThresholdSearch(scores, parts[chosen_on].labels).best()
        for name, scores in names.items()
    }
    return {
        name: _counts(part)
        | {"outcome_only": _outcome_only(part)}
        | {
            "scores": {
                score: _of_score(part, values, thresholds[score], in_sample=name == chosen_on)
                for score, values in part.scores.items()
            }
        }
        for name, part in parts.items()
    }


def _counts(part: Part) -> Figures:
    return {
        "num_solutions": len(part.labels),
        "num_with_error": sum(label != NO_ERROR for label in part.labels),
        "num_right_by_luck": len(_lucky(part)),
    }


def _lucky(part: Part) -> list[int]:
    """Solutions whose final answer is right although a step is wrong."""
    pairs = zip(part.labels, part.answer_correct, strict=True)
    return [i for i, (label, right) in enumerate(pairs) if right and label != NO_ERROR]


def _outcome_only(part: Part) -> Figures | None:
    """What pointing at a fixed place reaches; None where a final answer's outcome is unknown."""
    if None in part.answer_correct:
        return None
    num_steps = [len(steps) for steps in next(iter(part.scores.values()))]
    best, place = fixed_place(num_steps, part.answer_correct, part.labels)
    return {"f1": best.f1, "place": place}


def _of_score(
    part: Part, scores: list[list[float]], threshold: float, *, in_sample: bool
) -> Figures:
    labels = part.labels
    counts = resampled(len(labels), SEED)
    predicted = predictions(scores, threshold)
    search = ThresholdSearch(scores, labels)
    at = found(predicted, labels)
    best = found(predictions(scores, search.best()), labels)
    figures: Figures = {"best_threshold": search.best(), "best_f1": best.f1}
    # Each sample chooses its own threshold: one that stays would hide how much it is fitted.
    again = [search.f1(row).max() for row in counts]
    figures |= dict(zip(("best_f1_low", "best_f1_high"), percentile_interval(again), strict=True))
    figures |= {"auc": step_auc(scores, labels)}
    lucky = _lucky(part)
    hits = [predicted[i] == labels[i] for i in lucky]
    figures |= {
        "right_by_luck_found": float(np.mean(hits)) if hits else None,
        "falls_found": falls_found(scores, labels),
        "clean_above_lucky": clean_above_lucky(scores, labels, part.answer_correct),
    }
    if in_sample:  # the part that the threshold was chosen on has no figure of its own but `best`
        return figures
    low, high = percentile_interval(f1_samples(predicted, labels, counts))
    return figures | {
        "threshold": threshold,
        "f1": at.f1,
        "f1_low": low,
        "f1_high": high,
        "acc_error": at.acc_error,
        "acc_correct": at.acc_correct,
    }


def predictions(scores: Sequence[Sequence[float]], threshold: float) -> list[int]:
    """The first step below the threshold of each solution, -1 where none is."""
    return [first_below(one, threshold) for one in scores]


def step_lines(figures: dict[str, Figures], chosen_on: str) -> list[str]:
    """The figures as text: for each part a line of what outcomes alone do, and one a score."""
    lines = []
    for name, part in figures.items():
        lines.append(
            f"{name}: {part['num_solutions']} solutions, {part['num_with_error']} with an error; "
            + _outcome_words(part["outcome_only"])
        )
        lines += [f"  {score:<12}{_words(of, chosen_on)}" for score, of in part["scores"].items()]
    return lines


def _outcome_words(only: Figures | None) -> str:
    if only is None:
        return "final answers unknown: no line of what an outcome alone reaches"
    return f"an outcome alone reaches F1 {100 * only['f1']:.1f} (a fixed place in wrong ones)"


def _words(of: Figures, chosen_on: str) -> str:
    best = f"best {_interval(of, 'best_f1')}"
    auc = "" if of["auc"] is None else f", AUC {of['auc']:.3f}"
    if "f1" not in of:
        return f"F1 in sample (the threshold's part): {best}{auc}"
    luck = of["right_by_luck_found"]
    found_by_luck = "" if luck is None else f", right by luck {100 * luck:.1f} %"
    if (above := of["clean_above_lucky"]) is not None:
        found_by_luck += f", clean above lucky {100 * above:.1f} %"
    return f"F1 {_interval(of, 'f1')} at {chosen_on}'s threshold, {best}{auc}{found_by_luck}"


def _interval(of: Figures, name: str) -> str:
    values = (100 * of[key] for key in (name, f"{name}_low", f"{name}_high"))
    return "{:.1f} [{:.1f}, {:.1f}]".format(*values)
