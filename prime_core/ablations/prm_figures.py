"""Figures of a run's PRM that comparisons can be of, by the iteration whose PRM they are of.

In: a run's files. Out: ranking (pairs of the batch that the PRM ranks correctly, by true outcomes),
f1 and clean_above_lucky of evaluation.steps, own_f1 of the batch's own chains, and what an outcome
alone reaches beside either F1. What a run does not have is left out.
"""

from __future__ import annotations

from typing import Any

from prime_core.run.layout import RunFiles
from prime_core.run.tables import read_json
from prime_core.settings.evaluation import STEPS
from prime_core.settings.reading import flatten, load_yaml

PRM_COLUMNS = ("ranking", "f1", "outcome_f1", "clean_above_lucky", "own_f1", "own_outcome_f1")
# Column -> keys of the stage score, the first that is there.
_SCORED = {
    "ranking": ("prm/true_ranking_accuracy", "prm/ranking_accuracy"),
    "own_f1": ("steps/f1",),
    "own_outcome_f1": ("steps/outcome_f1",),
}


def prm_figures(files: RunFiles, start: RunFiles, iteration: int) -> dict[str, float]:
    """Figures of the PRM after an iteration; of iteration 0 its base's."""
    found: dict[str, float] = {}
    # It scores the next iteration's batch, before that trains it.
    scored = files.metrics(iteration + 1, "score")
    if iteration and scored.exists():
        values = read_json(scored)
        for column, keys in _SCORED.items():
            known = [values[key] for key in keys if key in values]
            found |= {column: known[0]} if known else {}
    steps = (files if iteration else start).evaluation(iteration, STEPS)
    if steps.exists():
        settings = flatten(load_yaml(files.config))
        found |= _of_steps(read_json(steps), settings.get("evaluation.steps.score", "step"))
    return found


def _of_steps(values: dict[str, Any], score: str) -> dict[str, float]:
    """Means over the parts that the threshold was not chosen on; in sample where it is the only."""
    parts = values["parts"]
    others = [part for name, part in parts.items() if name != values["threshold_part"]]
    figures = [
        {
            "f1": of.get("f1", of["best_f1"]),
            "clean_above_lucky": of["clean_above_lucky"],
            "outcome_f1": part["outcome_only"]["f1"] if part["outcome_only"] else None,
        }
        for part in others or parts.values()
        for of in [part["scores"][score]]
    ]
    known = {
        column: [one[column] for one in figures if one[column] is not None] for column in figures[0]
    }
    return {column: sum(values) / len(values) for column, values in known.items() if values}
