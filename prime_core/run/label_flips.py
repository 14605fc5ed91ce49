"""Outcomes turned over on purpose: a judge that is wrong as often as the settings say.

In: judged responses. Out: the same with other outcomes to train on, and the true ones beside them.
The verifier's own tables keep the truth, so that accuracies, and how the PRM ranks, are of it.

docs/questions.md#noisy-judge
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from prime_core.run.seeds import derive_seed
from prime_core.run.tables import GREEDY
from prime_core.settings.run import Settings


def with_flips(judged: pd.DataFrame, settings: Settings, iteration: int) -> pd.DataFrame:
    """The responses with `outcome` as training sees it, and `true_outcome` where some are flipped.

        r -> 1 - r  with probability flip_correct where r > 1/2, else flip_wrong

    Drawn for each response by itself, so that shards and resuming change nothing. Without a verdict
    there is nothing to flip.
    """
    rules = settings.verification
    if not rules.flips:
        return judged

    def flipped(outcome: pd.Series, samples: pd.Series | int) -> np.ndarray:
        keys = zip(judged["prompt_id"], np.broadcast_to(samples, len(judged)), strict=True)
        draws = np.array(
            [derive_seed(settings.seed, "flip", iteration, p, int(s)) / 2**63 for p, s in keys]
        )
        share = np.where(outcome > 0.5, rules.flip_correct, rules.flip_wrong)
        return np.where(draws < share, 1 - outcome, outcome)

    table = judged.assign(
        true_outcome=judged["outcome"], outcome=flipped(judged["outcome"], judged["sample"])
    )
    if "greedy_outcome" in judged:  # a judge errs about the baseline's response as well
        table = table.assign(greedy_outcome=flipped(judged["greedy_outcome"], GREEDY))
    return table
