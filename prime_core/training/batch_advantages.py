"""Advantages and returns of a whole batch, as the settings say: for the policy and the value model.

In: the batch, its implicit rewards and its values, where the settings ask for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from prime_core.advantage import advantages
from prime_core.gae import gae_advantages, prefix_values
from prime_core.masked import only
from prime_core.outcomes import overlong_shaped
from prime_core.run.layout import RunFiles
from prime_core.runtime.stopwatch import Metrics
from prime_core.settings.run import Settings
from prime_core.step_credit import gigpo_steps
from prime_core.step_values import token_values, value_differences
from prime_core.training.batches import response_mask
from prime_core.training.learning_batch import (
    LearningBatch,
    read_rewards,
    read_step_values,
    read_values,
)
from prime_core.training.step_marks import reward_marks, state_ends
from prime_core.training.turn_texts import turn_actions
from prime_core.turns import at_turns, turn_ends
from prime_core.visits import repeated_share, turn_returns, visit_rewards

Matrix = Float[Tensor, "B T"]


@dataclass(frozen=True)
class BatchAdvantages:
    """Advantages, returns and values of every token of a batch.

    advantages: the token's weight in the policy's loss. returns: advantages before whitening; with
    values, what the value model learns. values: of the state before the token, with `gae`.
    """

    advantages: Matrix
    returns: Matrix
    values: Matrix | None


def batch_rewards(
    settings: Settings, files: RunFiles, iteration: int, batch: LearningBatch
) -> Matrix | None:
    """Process rewards, of the PRM or from values of steps; None where only outcomes count."""
    if settings.counts_visits:
        rewards, _, _ = _visits(settings, files, batch)
        return only(at_turns(rewards, batch.mask), turn_ends(batch.mask)).float()
    if settings.prm.source == "monte_carlo":
        step_values, ends = read_step_values(files, iteration, batch)
        return value_differences(step_values, batch.outcome, batch.mask, ends)
    if settings.prm.prm_update == "none":
        return None
    table = read_rewards(files, iteration, batch)
    return batch.matrix(table["implicit_reward"])


def batch_values(
    settings: Settings,
    files: RunFiles,
    iteration: int,
    batch: LearningBatch,
    rewards: Matrix | None,
) -> Matrix | None:
    """Values from the value model, the PRM's rewards or continuations; None without `gae`."""
    if settings.policy.adv_estimator != "gae":
        return None
    if settings.value.source == "model":
        # From the table, not from the model: the policy and the value update must learn from the
        # same numbers, and may run side by side. docs/decisions.md#value-stages
        return read_values(files, iteration, batch)
    if settings.value.source == "monte_carlo":
        step_values, ends = read_step_values(files, iteration, batch)
        values = token_values(step_values, batch.outcome, batch.mask, ends)
        return settings.policy.outcome_coef * values  # in units of the rewards
    if settings.counts_visits:
        _, of_turns, _ = _visits(settings, files, batch)
        return at_turns(of_turns, batch.mask).float()
    assert rewards is not None, "value.source 'prm' without a PRM is refused by the settings"
    # No model runs for this: a table that is there already is cumulated.
    # docs/decisions.md#prm-log-odds
    return prefix_values(rewards, batch.mask, settings.value.prm_value)


def _visits(
    settings: Settings, files: RunFiles, batch: LearningBatch
) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"], tuple[float, float]]:
    """Rewards and values of turns by counting visits, and which share of turns repeats."""
    states, actions = batch.states, turn_actions(batch, files.policy(0))
    assert states is not None, "settings.batch_columns asks for it"
    returns = turn_returns(batch.outcome, states, settings.value.gamma_visits)
    return *visit_rewards(returns, states, actions), repeated_share(states, actions)


def visit_metrics(settings: Settings, files: RunFiles, batch: LearningBatch) -> Metrics:
    """How often the batch came to a state again; nothing where visits are not counted."""
    if not settings.counts_visits:
        return {}
    of_states, of_pairs = _visits(settings, files, batch)[2]
    return {"visits/repeated_state_share": of_states, "visits/repeated_action_share": of_pairs}


def batch_step_ends(
    settings: Settings, batch: LearningBatch, folder: Path
) -> Bool[Tensor, "B T"] | None:
    """Last tokens of steps, where advantages depend on them. folder: whose tokenizer is used."""
    policy, boundary = settings.policy, settings.rollout.step_boundary
    by_steps = policy.adv_estimator == "gae" and policy.gae_level == "step"
    if not by_steps and policy.credit == "sum" and policy.process_centre == "none":
        return None
    if by_steps or settings.prm.source == "monte_carlo":
        return state_ends(batch, folder, boundary)
    return reward_marks(settings.prm.granularity, batch, folder, boundary)


def shaped_outcome(settings: Settings, batch: LearningBatch) -> Float[Tensor, " B"]:
    """Outcomes less what overlong responses lose: for advantages alone, never a label."""
    return overlong_shaped(
        batch.outcome,
        # The limit is of all tokens, an environment's as well.
        response_mask(batch.sequences, torch.device("cpu")),
        settings.rollout.max_response_length,
        settings.policy.overlong_buffer_len,
        settings.policy.overlong_penalty_factor,
    )


def invalid_penalty(batch: LearningBatch, amount: float) -> Float[Tensor, "B N"] | None:
    """The amount at each turn whose action the environment could not take, 0 at others."""
    if amount == 0 or batch.valid_actions is None:
        return None
    return amount * (~batch.valid_actions).double()


def step_advantage(
    settings: Settings, batch: LearningBatch, penalty: Float[Tensor, "B N"] | None
) -> Matrix | None:
    """What GiGPO adds to each token, weighted; None with another estimator.

    penalty: as invalid_penalty gives it.
    """
    policy = settings.policy
    if policy.adv_estimator != "gigpo":
        return None
    rewards, states = batch.turn_rewards, batch.states
    assert rewards is not None, "policy.batch_columns asks for it"
    assert states is not None, "policy.batch_columns asks for it"
    steps = gigpo_steps(
        rewards, states, batch.mask, batch.group, policy.gamma_turn, policy.gigpo_norm, penalty
    )
    return policy.step_advantage_w * steps


def batch_advantages(
    settings: Settings,
    batch: LearningBatch,
    rewards: Matrix | None,
    values: Matrix | None,
    penalty: Matrix | None = None,
    step_ends: Bool[Tensor, "B T"] | None = None,
    invalid_action_penalty: float = 0.0,
) -> BatchAdvantages:
    """What the updates learn from, as the settings say.

    rewards: None where only outcomes count. values: None for estimators that compare responses.
    penalty: what tokens' rewards are less, with policy.kl_in_reward. step_ends: as
    batch_step_ends finds them.
    """
    policy = settings.policy
    outcome = shaped_outcome(settings, batch)
    if values is None:
        invalid = invalid_penalty(batch, invalid_action_penalty)
        found = advantages(
            adv_estimator=policy.outcome_estimator,
            outcome=outcome,
            implicit_reward=rewards,
            mask=batch.mask,
            group=batch.group,
            baseline=policy.baseline,
            gamma_outcome=policy.gamma_outcome,
            gamma_process=policy.gamma_process,
            outcome_coef=policy.outcome_coef,
            process_coef=policy.process_coef,
            combine=policy.combine,
            process_centre=policy.process_centre,
            discount_unit=policy.discount_unit,
            whiten=policy.whiten,
            penalty=penalty,
            invalid=None if invalid is None else at_turns(invalid, batch.mask),
            step_advantage=step_advantage(settings, batch, invalid),
            greedy_outcome=batch.greedy_outcome,
            credit=policy.credit,
            step_ends=step_ends,
            forks=batch.forks(policy.tree_weight),
        )
        return BatchAdvantages(*found, None)
    assert penalty is None, "policy.kl_in_reward with 'gae' is refused by the settings"
    return _from_values(settings, batch, rewards, values, outcome, step_ends)


def _from_values(
    settings: Settings,
    batch: LearningBatch,
    rewards: Matrix | None,
    values: Matrix,
    outcome: Float[Tensor, " B"],
    step_ends: Bool[Tensor, "B T"] | None,
) -> BatchAdvantages:
    """PPO's advantages, with `gae`."""
    policy = settings.policy
    found = gae_advantages(
        outcome=outcome,
        # a PRM that provides the values does not provide rewards as well
        # docs/decisions.md#prm-log-odds
        implicit_reward=None if settings.value.source == "prm" else rewards,
        values=values,
        mask=batch.mask,
        # There is one return here, so the settings refuse a gamma_process that differs.
        # docs/decisions.md#one-return
        gamma=policy.gamma_outcome,
        gae_lambda=policy.gae_lambda,
        # Rewards from visits hold the outcome.
        outcome_coef=0.0 if settings.counts_visits else policy.outcome_coef,
        process_coef=policy.process_coef,
        combine=policy.combine,
        whiten=policy.whiten,
        gae_level=policy.gae_level,
        step_ends=step_ends,
        discount_unit=policy.discount_unit,
    )
    return BatchAdvantages(*found, values)
