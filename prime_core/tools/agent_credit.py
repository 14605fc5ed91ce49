"""`prime agent-credit`: does the implicit reward of a turn agree with its exact advantage?

In: a run in one of gymnasium's environments whose transitions are a table. Out: a JSON file with
figures of each iteration, and a line for each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prime_core.evaluation.agent_credit import credit_figures, turn_table, world_of
from prime_core.run.atomic import write_json
from prime_core.run.work import open_run
from prime_core.runtime.console import say


def run(run_dir: Path, iterations: range, out: Path) -> None:
    """Compare the credit of these iterations' turns. Raises ValueError, TableError."""
    settings, files = open_run(run_dir)
    env = settings.data.env
    if env is None:
        raise ValueError(
            f"{files.config}: data.source is '{settings.data.source}'; expected a run in an "
            "environment (data.source: env)"
        )
    world = world_of(env)
    figures: list[dict[str, Any]] = []
    for iteration in iterations:
        found = credit_figures(turn_table(files, iteration, env, world))
        figures.append({"iteration": iteration} | found)
        say(f"iteration {iteration}: {_line(found)}")
    write_json(out, {"run": settings.run, "env": env.id, "iterations": figures})


def _line(found: dict[str, Any]) -> str:
    words = []
    for name, of in (("implicit reward", found["implicit"]), ("outcome alone", found["outcome"])):
        rank, sign = ("–" if of[key] is None else f"{of[key]:.2f}" for key in ("spearman", "sign"))
        words.append(f"{name}: rank correlation {rank}, equal signs {sign}")
    return f"{found['num_turns']} turns; {'; '.join(words)}"
