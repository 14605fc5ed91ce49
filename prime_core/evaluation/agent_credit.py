"""Credit of an agent's turns beside the exact advantage of the policy that sampled them.

In: a run's environment, if gymnasium has its transitions as a table; an iteration's rollouts, batch
and implicit rewards. Out: a row a turn, and how its credit agrees with the true advantage: the
implicit reward of the turn, and beside it what an outcome alone gives to every turn of an episode
(its difference from the group's mean).

The policy's action probabilities are counted over the iteration's episodes by state. It may choose
by what came before as well; the values are those of the policy that does what it does on average.

docs/questions.md#agent-credit
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prime_core.environments.process import digest
from prime_core.environments.toy_text import ToyText, toy_text
from prime_core.evaluation.exact_values import (
    Transitions,
    agreement,
    horizon_values,
    transitions,
)
from prime_core.run.layout import RunFiles, in_order
from prime_core.run.sampled import sampled_mask
from prime_core.run.tables import BATCH, REWARDS, ROLLOUTS, TableError, read_table
from prime_core.settings.env import Env

CREDITS = ("implicit", "outcome")


@dataclass(frozen=True)
class World:
    """An environment with a table.

    steps: of its actions, and behind them one that it could not take: a turn in which nothing
    happens. The reward of a step is 1 where it solves the episode. states: digest of an observation
    -> its number.
    """

    toy: ToyText
    steps: Transitions
    states: dict[str, int]

    def action(self, text: str) -> int:
        """Number of the action that a turn's text names; behind all others where it names none."""
        found = self.toy.number(text)
        return len(self.toy.words) if found is None else found


def world_of(env: Env) -> World:
    """The table of a run's environment. Raises ValueError where there is none."""
    try:
        toy = toy_text(env.id)(**env.kwargs)
    except KeyError:
        raise ValueError(
            f"data.env.id {env.id!r}: exact values need one of gymnasium's environments with a "
            "table of transitions (FrozenLake, CliffWalking, Taxi)"
        ) from None
    table = getattr(toy.environment.unwrapped, "P", None)
    if table is None:
        raise ValueError(f"data.env.id {env.id!r}: it has no table of transitions")
    solved = {
        state: {
            action: [
                (chance, following, float(ended and (toy.reaches_goal or reward > limit)), ended)
                for chance, following, reward, ended in outcomes
            ]
            for action, outcomes in actions.items()
        }
        | {len(actions): [(1.0, state, 0.0, False)]}
        for state, actions in table.items()
        for limit in [env.success_threshold]
    }
    states = {
        digest(f"{beginning}{state}"): state for beginning in ("", toy.rules) for state in table
    }
    return World(toy, transitions(solved), states)


def turn_table(files: RunFiles, iteration: int, env: Env, world: World) -> pd.DataFrame:
    """A row for each turn of the iteration's batch: state, action, credits, advantage.

    Raises TableError where the batch is not of this iteration's episodes.
    """
    episodes = _episodes(files, iteration)
    policy = _policy(episodes, world)
    values, actions = horizon_values(world.steps, policy, env.max_turns)
    batch = read_table(files.batch(iteration), BATCH, files.root, also=["states", "response_mask"])
    rewards = read_table(files.rewards(iteration), REWARDS, files.root)
    keys = ["prompt_id", "sample"]
    rows = batch.merge(rewards, on=keys, validate="one_to_one")
    rows = rows.merge(episodes[[*keys, "actions"]], on=keys, how="left", validate="one_to_one")
    if rows["actions"].isna().any():
        raise TableError(f"{files.batch(iteration)}: holds episodes of an earlier iteration")
    rows["outcome"] -= rows.groupby("prompt_id")["outcome"].transform("mean")
    table = pd.DataFrame(
        [turn for row in rows.to_dict("records") for turn in _turns(row, world)],
        columns=["turn", "state", "action", *CREDITS],
    )
    left = env.max_turns - table["turn"].to_numpy()
    state, action = table["state"].to_numpy(), table["action"].to_numpy()
    return table.assign(advantage=actions[left, state, action] - values[left, state])


def credit_figures(table: pd.DataFrame) -> dict[str, Any]:
    """How each credit agrees with the true advantage, over all turns and by turn."""

    def of(rows: pd.DataFrame) -> dict[str, Any]:
        truth = rows["advantage"].tolist()
        return {name: vars(agreement(rows[name].tolist(), truth)) for name in CREDITS}

    by_turn = [
        {"turn": turn, "num_turns": int((table["turn"] == turn).sum())}
        | of(table[table["turn"] == turn])
        for turn in sorted(set(table["turn"].tolist()))
    ]
    return {"num_turns": len(table), **of(table), "by_turn": by_turn}


def _episodes(files: RunFiles, iteration: int) -> pd.DataFrame:
    """All episodes that the iteration sampled."""
    paths = in_order(files.rollouts(iteration, 0).parent.glob("*.parquet"))
    if not paths:
        raise TableError(f"{files.iteration(iteration)}: holds no rollouts; run that iteration")
    also = ["actions", "states"]
    return pd.concat([read_table(path, ROLLOUTS, files.root, also=also) for path in paths])


def _policy(episodes: pd.DataFrame, world: World) -> np.ndarray:
    """[S, A + 1] action probabilities; in states that no episode saw, each action alike."""
    counts = np.zeros(world.steps.reward.shape)
    for states, texts in zip(episodes["states"], episodes["actions"], strict=True):
        for state, text in zip(states, texts, strict=True):
            counts[world.states[state], world.action(text)] += 1
    unseen = counts.sum(1) == 0
    counts[unseen, :-1] = 1
    return counts / counts.sum(1, keepdims=True)


def _turns(row: dict[Any, Any], world: World) -> Iterator[tuple[int, int, int, float, float]]:
    """The turns of one episode: number, state, action, and the credits in their order."""
    mask = np.asarray(sampled_mask(row))
    begins = mask & ~np.concatenate([[False], mask[:-1]])
    turn_of = np.where(mask, np.cumsum(begins) - 1, -1)
    rewards = np.asarray(row["implicit_reward"], dtype=float)
    for turn, (state, text) in enumerate(zip(row["states"], row["actions"], strict=True)):
        implicit = float(rewards[turn_of == turn].sum())
        yield turn, world.states[state], world.action(text), implicit, row["outcome"]
