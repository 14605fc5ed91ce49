"""PRIME's mathematics for other trainers: four functions with the paper's defaults.

In: log-probabilities and rewards as tensors [B, T] of B responses, masks [B, T] of what counts
(bool, or numbers that are 0 or 1), groups as a tensor or any hashables, one a response. Out:
tensors. It needs torch alone. docs/library.md has loops in plain PyTorch, TRL and verl.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prime_core.advantage import advantages as batch_advantages
from prime_core.implicit_reward import implicit_reward, log_odds
from prime_core.policy_loss import LOSS_AGGREGATIONS, POLICY_LOSSES
from prime_core.prm_loss import (
    dpo_tangent,
    pair_terms,
    prm_cross_entropy,
    prm_dpo,
    prm_dpo_detached,
)
from prime_core.prm_loss import prm_loss as part_of_mean
from prime_core.trees import Forks

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

Group = Sequence[Hashable] | Tensor


def prm_rewards(
    prm_logprobs: Float[Tensor, "B T"],
    reference_logprobs: Float[Tensor, "B T"],
    mask: Tensor,
    beta: float = 0.05,
) -> Float[Tensor, "B T"]:
    """Implicit reward of each token, 0 where the mask is (PRIME, arXiv 2502.01456, Eq. 3).

        r_t = beta (log pi_phi(y_t) - log pi_ref(y_t))

    Raises ValueError for shapes that differ and for a mask that is not of 0 and 1.
    """
    counted = _mask(mask, prm_logprobs, reference_logprobs)
    return implicit_reward(prm_logprobs, reference_logprobs, counted, beta)


def prime_advantages(
    outcome: Float[Tensor, " B"],
    rewards: Float[Tensor, "B T"] | None,
    mask: Tensor,
    group: Group,
    *,
    adv_estimator: str = "rloo",
    baseline: str = "code",
    gamma_outcome: float = 1.0,
    gamma_process: float = 1.0,
    outcome_coef: float = 1.0,
    process_coef: float = 1.0,
    discount_unit: str = "token",
    combine: str = "returns",
    process_centre: str = "none",
    whiten: bool = True,
    greedy_outcome: Float[Tensor, " B"] | None = None,
    credit: str = "sum",
    step_ends: Bool[Tensor, "B T"] | None = None,
    forks: Forks | None = None,
) -> Float[Tensor, "B T"]:
    """Advantage of each token of a whole batch, from outcomes and rewards (PRIME, Eq. 5).

    rewards: of `prm_rewards`; None: outcomes alone. group: which responses answer the same prompt.
    Call it with complete groups, and with the whole batch where advantages are whitened. Estimators
    and choices are those of prime_core.advantage, which says what is refused; steps end with each
    run of the mask's ones, so step_ends of zeros alone are turns. forks: of prime_core.trees.
    """
    given = [] if rewards is None else [rewards]
    found, _ = batch_advantages(
        adv_estimator=adv_estimator,
        outcome=outcome,
        implicit_reward=None if rewards is None else rewards.detach(),
        mask=_mask(mask, *given),
        group=_group(group, len(outcome), outcome.device),
        baseline=baseline,
        gamma_outcome=gamma_outcome,
        gamma_process=gamma_process,
        outcome_coef=outcome_coef,
        process_coef=process_coef,
        discount_unit=discount_unit,
        combine=combine,
        process_centre=process_centre,
        whiten=whiten,
        greedy_outcome=greedy_outcome,
        credit=credit,
        step_ends=step_ends,
        forks=forks,
    )
    return found


def prm_loss(
    prm_logprobs: Float[Tensor, "B T"],
    reference_logprobs: Float[Tensor, "B T"],
    outcome: Float[Tensor, " B"],
    mask: Tensor,
    *,
    beta: float = 0.05,
    loss_type: str = "ce",
    group: Group | None = None,
    num_responses: int | None = None,
) -> Float[Tensor, ""]:
    """The PRM's loss on outcomes in [0, 1], the sum z of a response's rewards being its log-odds.

    loss_type: 'ce', cross-entropy (PRIME, Eq. 4); 'dpo', each response against the mean of its
    group's opponents, and 'dpo_pairs', every right one against every wrong one, which need complete
    groups. num_responses: of the whole minibatch, where this is a micro batch of it; None: this is
    all. Has a gradient with respect to prm_logprobs. Raises ValueError for another loss_type, for
    these two without groups, and for 'dpo_pairs' without a pair.
    """
    rewards = prm_rewards(prm_logprobs, reference_logprobs, mask, beta)
    z = log_odds(rewards, _mask(mask))
    if loss_type == "ce":
        losses = prm_cross_entropy(z, outcome)
    elif loss_type == "dpo" and group is not None:
        opponents, _ = pair_terms(z, outcome, _group(group, len(z), z.device), "none")
        losses = prm_dpo_detached(z, opponents, outcome)
    elif loss_type == "dpo_pairs" and group is not None:
        losses = prm_dpo(z, *dpo_tangent(z, outcome, _group(group, len(z), z.device)))
    else:
        known = "'ce', or 'dpo' or 'dpo_pairs' with groups"
        raise ValueError(f"loss_type must be {known}, got {loss_type!r}")
    return part_of_mean(losses, num_responses or len(losses))


def policy_loss(
    logprobs: Float[Tensor, "B T"],
    old_logprobs: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    mask: Tensor,
    *,
    eps_clip: float = 0.2,
    eps_clip_high: float | None = None,
    loss_mode: str = "vanilla",
    loss_agg_mode: str = "token-mean",
    num_tokens: int | None = None,
    num_sequences: int | None = None,
    max_response_length: int | None = None,
) -> Float[Tensor, ""]:
    """The policy's loss: PPO's clipped surrogate, the mean over tokens (PRIME, Eq. 2).

    eps_clip_high: None: eps_clip. num_tokens, num_sequences: of the whole minibatch, where this is
    a micro batch of it; None: this is all. max_response_length: of seq-mean-token-sum-norm; None:
    T. Other modes and aggregations are those of prime_core.policy_loss. Raises ValueError for an
    unknown one.
    """
    counted = _mask(mask, logprobs, old_logprobs, advantages)
    for name, choice, known in (
        ("loss_mode", loss_mode, POLICY_LOSSES),
        ("loss_agg_mode", loss_agg_mode, LOSS_AGGREGATIONS),
    ):
        if choice not in known:
            raise ValueError(f"{name} must be in {list(known)}, got {choice!r}")
    losses, _ = POLICY_LOSSES[loss_mode](
        logprobs,
        old_logprobs.detach(),
        advantages.detach(),
        counted,
        eps_clip,
        eps_clip if eps_clip_high is None else eps_clip_high,
    )
    return LOSS_AGGREGATIONS[loss_agg_mode](
        losses,
        counted,
        num_tokens or max(int(counted.sum()), 1),
        num_sequences or len(counted),
        max_response_length or counted.shape[1],
    )


def _mask(mask: Tensor, *values: Tensor) -> Bool[Tensor, "B T"]:
    """The mask as bools, for values of its shape."""
    for one in values:
        if one.shape != mask.shape:
            raise ValueError(
                f"expected the mask's shape {tuple(mask.shape)}, got {tuple(one.shape)}"
            )
    if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError("expected a mask of bools, or of numbers that are 0 or 1")
    return mask.bool()


def _group(group: Group, num_responses: int, device: torch.device) -> Int[Tensor, " B"]:
    """A number for each response's group."""
    if len(group) != num_responses:
        raise ValueError(f"expected groups of {num_responses} responses, got {len(group)}")
    if isinstance(group, Tensor):
        return group.to(device)
    numbers = {one: number for number, one in enumerate(dict.fromkeys(group))}
    return torch.tensor([numbers[one] for one in group], device=device)
