"""What the report says of evaluations besides their accuracies.

In: the table of evaluations; judged responses. Out: the change from a benchmark's first evaluation
to its last, problem by problem (one entry a benchmark); figures of several responses to a problem.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from prime_core.evaluation.figures import judged_responses
from prime_core.evaluation.statistics.paired import Paired, compare_paired
from prime_core.run.layout import RunFiles
from prime_core.run.tables import EVALUATION, read_table

# What stands before the @ of a figure, and what it means.
MEANINGS = {
    "reward": "mean reward of verification.function, of which 1 alone counts as right",
    "pass": "at least one of k is right",
    "maj": "the most common answer is right",
    "bon": "the response that the PRM scores highest is right",
    "weighted_maj": "the answer of most PRM-weighted votes is right",
}


def paired_changes(files: RunFiles, evaluations: pd.DataFrame) -> dict[str, Paired]:
    """Benchmark -> its last evaluation against its first, on the problems that both have.

    Nothing where there is one evaluation, or where judged responses are gone.
    """
    changes = {}
    for benchmark, rows in evaluations.dropna(subset="accuracy").groupby("benchmark"):
        first, last = (
            files.evaluation(int(iteration), str(benchmark)).with_suffix(".parquet")
            for iteration in (rows["iteration"].min(), rows["iteration"].max())
        )
        if first == last or not (first.exists() and last.exists()):
            continue
        before, after = (
            problem_means(read_table(path, EVALUATION, files.root)) for path in (first, last)
        )
        # num_problems may have changed in between: only pairs can be compared.
        common = after.index.intersection(before.index)
        if len(common):
            changes[str(benchmark)] = compare_paired(after[common], before[common])
    return changes


def sampled_rows(evaluations: pd.DataFrame) -> list[dict[str, Any]]:
    """Figures beside accuracy: of several responses to a problem, of rewards that are shares.

    A row each, of the first and last evaluation.
    """
    rows: list[dict[str, Any]] = []
    for benchmark, table in evaluations.dropna(subset="accuracy").groupby("benchmark"):
        table = table.sort_values("iteration")
        before, after = table.iloc[0], table.iloc[-1]
        rows += [
            {
                "benchmark": str(benchmark),
                "figure": name,
                "meaning": MEANINGS[name.partition("@")[0]],
                "several": len(table) > 1,
                "before": _interval(before, name),
                "after": _interval(after, name),
            }
            for name in sorted(filter(_is_sampled, table.columns), key=_meaning_and_number)
            if f"{name}_low" in table.columns and pd.notna(after[name])
        ]
    return rows


def _is_sampled(name: str) -> bool:
    kind, sign, k = name.partition("@")
    return name == "reward" or (bool(sign) and kind in MEANINGS and k.isdigit())


def _meaning_and_number(name: str) -> tuple[int, int]:
    """Order of the figures: by their meaning, then by their number of responses."""
    kind, _, k = name.partition("@")
    return list(MEANINGS).index(kind), int(k or 0)


def _interval(evaluation: pd.Series, name: str) -> dict[str, Any]:
    return {
        "accuracy": evaluation[name],
        "accuracy_low": evaluation[f"{name}_low"],
        "accuracy_high": evaluation[f"{name}_high"],
    }


def problem_means(rows: pd.DataFrame) -> pd.Series:
    """Share of right responses to each problem that has a verdict, by prompt_id."""
    # Without a verdict a response is neither right nor wrong.
    return judged_responses(rows).groupby("prompt_id")["right"].mean()
