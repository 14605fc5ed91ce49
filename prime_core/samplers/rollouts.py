"""The responses that an iteration is trained on: chains or trees, as the settings say.

In: the prompts that a shard asks, and the settings. Out: columns of ROLLOUTS without
policy_iteration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.run.tables import GREEDY
from prime_core.samplers import SamplingParams
from prime_core.samplers.ask import ask
from prime_core.samplers.trees import ask_trees
from prime_core.settings.run import Settings


def sample_rollouts(
    settings: Settings,
    *,
    sampler: str,
    model_path: Path,
    prompts: pd.DataFrame,
    iteration: int,
    progress: Callable[[int], object],
    output: Path,
) -> list[dict[str, Any]]:
    """Responses to each prompt; with remax greedy ones behind them, numbered GREEDY.

    Arguments as of `ask`. Raises SamplerError as it does.
    """
    rollout = settings.rollout
    how: dict[str, Any] = {
        "settings": settings,
        "sampler": sampler,
        "model_path": model_path,
        "prompts": prompts,
        "iteration": iteration,
        "progress": progress,
        "output": output,
    }
    params = SamplingParams(
        rollout.temperature, rollout.top_p, rollout.top_k, rollout.max_response_length
    )
    if rollout.tree is not None:
        return ask_trees(**how, tree=rollout.tree, params=params)
    how["purpose"] = "sample"
    found = ask(**how, params=params, n_samples_per_prompt=rollout.n_samples_per_prompt)
    if not settings.policy.compares_with_greedy:
        return found
    greedy = replace(params, temperature=0.0)
    beside = ask(**how, params=greedy, n_samples_per_prompt=1, kept_as="greedy")
    return found + [row | {"sample": GREEDY} for row in beside]
