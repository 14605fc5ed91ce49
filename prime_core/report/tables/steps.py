"""How well the PRM found first wrong steps after each evaluated iteration (evaluation.steps).

In: evaluations/<i>/steps.json. Out: a row for each iteration and part, of the score that the
settings show; `in_sample` where the threshold was chosen on the part itself.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from prime_core.run.layout import RunFiles, in_order
from prime_core.run.tables import read_json
from prime_core.settings.evaluation import STEPS

COLUMNS = (
    *("iteration", "part", "num_solutions", "score", "in_sample", "f1", "f1_low", "f1_high"),
    *("outcome_only", "auc", "right_by_luck_found", "num_right_by_luck", "clean_above_lucky"),
)


def step_table(files: RunFiles, score: str) -> pd.DataFrame:
    """One row per part and evaluated iteration, ascending; may be empty."""
    rows: list[dict[str, Any]] = []
    for path in in_order((files.root / "evaluations").glob(f"[0-9]*/{STEPS}.json")):
        values = read_json(path)
        rows += [
            {"iteration": int(path.parent.name), "part": name, "score": score} | _row(part, score)
            # Runs before there was an evaluation of steps may have had a benchmark of its name.
            for name, part in values.get("parts", {}).items()
        ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(part: dict[str, Any], score: str) -> dict[str, Any]:
    of, only = part["scores"][score], part["outcome_only"]
    name = "f1" if "f1" in of else "best_f1"
    return {
        "num_solutions": part["num_solutions"],
        "num_right_by_luck": part["num_right_by_luck"],
        "in_sample": name != "f1",
        "f1": of[name],
        "f1_low": of[f"{name}_low"],
        "f1_high": of[f"{name}_high"],
        "outcome_only": only["f1"] if only else None,
        "auc": of["auc"],
        "right_by_luck_found": of["right_by_luck_found"],
        "clean_above_lucky": of.get("clean_above_lucky"),  # runs before there was the figure
    }


def step_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """For the page: each part's first and last evaluation."""
    rows = []
    for part, found in table.groupby("part", sort=False):
        before, after = found.iloc[0].to_dict(), found.iloc[-1].to_dict()
        rows.append({"part": part, "before": before, "after": after, "several": len(found) > 1})
    return rows
