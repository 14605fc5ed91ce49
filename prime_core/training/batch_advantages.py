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
from prime_core.outcomes import overlong_shaped
from prime_core.run.layout import RunFiles
from prime_core.settings.run import Settings
from prime_core.step_credit import gigpo_steps
from prime_core.training.batches import response_mask
from prime_core.training.learning_batch import LearningBatch, read_rewards, read_values
from prime_core.training.step_marks import reward_marks
from prime_core.turns import at_turns

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
    """Implicit rewards; None where only outcomes count."""
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
    """Values from the value model, or from the PRM's rewards; None without `gae`."""
    if settings.policy.adv_estimator != "gae":
        return None
    if settings.value.source == "model":
        # From the table, not from the model: the policy and the value update must learn from the
        # same numbers, and may run side by side. docs/decisions.md#value-stages
        return read_values(files, iteration, batch)
    assert rewards is not None, "value.source 'prm' without a PRM is refused by the settings"
    # No model runs for this: a table that is there already is cumulated.
    # docs/decisions.md#prm-log-odds
    return prefix_values(rewards, batch.mask, settings.value.prm_value)


def batch_step_ends(
    settings: Settings, batch: LearningBatch, folder: Path
) -> Bool[Tensor, "B T"] | None:
    """Last tokens of steps, where advantages depend on them. folder: whose tokenizer is used."""
    policy = settings.policy
    if policy.credit == "sum" and policy.process_centre == "none":
        return None
    return reward_marks(settings.prm.prime_granularity, batch, folder)


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
        )
        return BatchAdvantages(*found, None)
    assert penalty is None, "policy.kl_in_reward with 'gae' is refused by the settings"
    return _from_values(settings, batch, rewards, values, outcome)


def _from_values(
    settings: Settings,
    batch: LearningBatch,
    rewards: Matrix | None,
    values: Matrix,
    outcome: Float[Tensor, " B"],
) -> BatchAdvantages:
    """PPO's advantages, with `gae`."""
    policy = settings.policy
    found = gae_advantages(
        outcome=outcome,
        # a PRM that provides the values does not provide rewards as well
        # docs/decisions.md#prm-log-odds
        implicit_reward=rewards if settings.value.source == "model" else None,
        values=values,
        mask=batch.mask,
        # There is one return here, so the settings refuse a gamma_process that differs.
        # docs/decisions.md#one-return
        gamma=policy.gamma_outcome,
        gae_lambda=policy.gae_lambda,
        outcome_coef=policy.outcome_coef,
        process_coef=policy.process_coef,
        combine=policy.combine,
        whiten=policy.whiten,
        discount_unit=policy.discount_unit,
    )
    return BatchAdvantages(*found, values)
