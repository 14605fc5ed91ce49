"""Exact values of a policy in an environment whose transitions are a table.

In: gymnasium's table of a toy_text environment (FrozenLake, CliffWalking, Taxi), P[s][a] = a list
of (probability, next state, reward, whether the episode ends), and a policy's action probabilities.
Out: V, Q and advantages, exact up to rounding: what step credit is held against
(docs/questions.md#agent-credit).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import pearsonr, spearmanr

Table = Mapping[int, Mapping[int, Sequence[tuple[float, int, float, bool]]]]


@dataclass(frozen=True)
class Transitions:
    """What happens after an action, on average.

    goes_on: [S, A, S], the chance that the episode goes on in a state; reward: [S, A], the mean
    reward of the step.
    """

    goes_on: np.ndarray
    reward: np.ndarray


def transitions(table: Table) -> Transitions:
    """The table as arrays. States and actions are numbered from 0 on."""
    num_states, num_actions = len(table), len(table[0])
    goes_on = np.zeros((num_states, num_actions, num_states))
    reward = np.zeros((num_states, num_actions))
    for state, actions in table.items():
        for action, outcomes in actions.items():
            for probability, following, gained, ended in outcomes:
                reward[state, action] += probability * gained
                if not ended:
                    goes_on[state, action, following] += probability
    return Transitions(goes_on, reward)


def policy_values(
    world: Transitions, policy: np.ndarray, gamma: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """V [S] and Q [S, A] of a policy whose episodes last until they end by themselves.

        V = r_pi + gamma P_pi V,   Q(s, a) = r(s, a) + gamma sum_s' p(s' | s, a) V(s')

    policy: [S, A] action probabilities. Raises ValueError where some state's episodes never end.
    """
    moves = np.einsum("sa,sat->st", policy, world.goes_on)
    gained = (policy * world.reward).sum(1)
    system = np.eye(len(gained)) - gamma * moves
    if np.linalg.matrix_rank(system) < len(gained):
        raise ValueError(
            f"gamma {gamma:g}: from some state the policy's episodes never end, and values do not "
            "exist; expected gamma below 1, or a number of turns"
        )
    values = np.linalg.solve(system, gained)
    return values, world.reward + gamma * world.goes_on @ values


def horizon_values(
    world: Transitions, policy: np.ndarray, num_turns: int, gamma: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """V [N + 1, S] and Q [N + 1, S, A] with 0, 1, ..., N turns left; Q with none left is NaN.

        V_0 = 0,   Q_n = r + gamma P V_{n-1},   V_n(s) = sum_a pi(a | s) Q_n(s, a)

    What an episode that is cut after N turns returns: with many turns left it tends to
    policy_values. policy: [S, A] action probabilities.
    """
    values = np.zeros((num_turns + 1, policy.shape[0]))
    actions = np.full((num_turns + 1, *policy.shape), np.nan)
    for left in range(1, num_turns + 1):
        actions[left] = world.reward + gamma * world.goes_on @ values[left - 1]
        values[left] = (policy * actions[left]).sum(1)
    return values, actions


@dataclass(frozen=True)
class Agreement:
    """How credit agrees with the true advantage over n steps; None where it is not defined.

    pearson, spearman: correlations; sign: share of equal signs among steps whose true advantage is
    not 0.
    """

    num_steps: int
    pearson: float | None
    spearman: float | None
    sign: float | None


def agreement(credit: Sequence[float], advantage: Sequence[float]) -> Agreement:
    """Compare credit of steps, in any unit, with their true advantages."""
    ours, truth = np.asarray(credit, dtype=float), np.asarray(advantage, dtype=float)
    varies = len(ours) > 1 and np.ptp(ours) > 0 and np.ptp(truth) > 0
    # Advantages are differences of sums: what rounding leaves of a 0 has a sign of its own.
    decided = np.abs(truth) > 1e-9
    return Agreement(
        num_steps=len(ours),
        pearson=float(pearsonr(ours, truth).statistic) if varies else None,
        spearman=float(spearmanr(ours, truth).statistic) if varies else None,
        sign=float((np.sign(ours) == np.sign(truth))[decided].mean()) if decided.any() else None,
    )
