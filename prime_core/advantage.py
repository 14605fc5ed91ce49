"""Advantages from outcome rewards and implicit process rewards (PRIME, arXiv 2502.01456, Eq. 5).

In: one outcome a response [B], the implicit reward of every token [B, T] (None: outcomes only), the
mask [B, T] of tokens that count, the group [B] of each response (the responses to one prompt;
groups may differ in size and stand in any order). Out: advantages and returns [B, T], 0 at tokens
that do not count.

The two rewards are centred, discounted and summed separately, then added. An estimator is how
rewards are centred; it treats the outcome as a response of one token. To add one:

1. a function here, with the arguments of `rloo`;
2. its line in ADV_ESTIMATORS;
3. its name in the Literal of `adv_estimator` in prime_core/settings/policy.py;
4. `make schema`.
"""

# ruff: noqa: ARG001 (every estimator takes the same arguments)

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Required, TypedDict, Unpack

from torch import Tensor

from prime_core.groups import group_mean, group_std, group_sum, sizes_of_two
from prime_core.masked import (
    at_least_float32,
    last_token,
    masked_whiten,
    only,
    sequence_mean,
    sequence_sum,
)
from prime_core.outcomes import check_choices, remax_outcome
from prime_core.step_credit import (
    CREDITS,
    SOFTMIN_TEMPERATURE,
    centred_steps,
    lowest_from,
    penalised_ends,
    reward_ends,
    weighted_to_lowest,
)
from prime_core.trees import TREE_ESTIMATORS, Forks, tree_returns
from prime_core.turns import discounted_over

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

Estimator = Callable[..., Tensor]


def leave_one_out(values: Float[Tensor, " B"], group: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Mean value of the other responses to the same prompt (RLOO, arXiv 2402.14740).

        b_i = (sum_j v_j - v_i) / (K - 1)

    Raises ValueError for a group of one.
    """
    # The group's sum less one's own, so groups of different sizes need no [G, K] matrix.
    return (group_sum(values, group) - at_least_float32(values)) / (sizes_of_two(group) - 1)


def rloo(
    rewards: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    baseline: str,
) -> Float[Tensor, "B T"]:
    """Token rewards less a leave-one-out baseline, m_j being response j's mean token reward.

        paper (PRIME, Eq. 5):       r_it - 1/(K-1) sum_{j != i} m_j
        code (published code):      K/(K-1) r_it - 1/(K-1) sum_j m_j

    They differ by (r_it - m_i)/(K-1), so they agree where a response has a single reward.
    Raises ValueError for a group of one, and for another `baseline`.
    """
    # A response's mean, as in Eq. 5: with sums, long responses would set the baseline of one token.
    sequence_rewards = sequence_mean(rewards, mask)
    num_others = sizes_of_two(group) - 1
    if baseline == "paper":
        return rewards - leave_one_out(sequence_rewards, group)[:, None]
    if baseline == "code":
        scale = (num_others + 1) / num_others
        return rewards * scale[:, None] - (group_sum(sequence_rewards, group) / num_others)[:, None]
    raise ValueError(f"baseline must be 'paper' or 'code', got {baseline!r}")


def grpo(
    rewards: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    baseline: str,
) -> Float[Tensor, "B T"]:
    """Token rewards in standard deviations from the group's mean (arXiv 2402.03300, Sec. 4.1.3).

        (r_it - mean_j m_j) / (std_j m_j + 1e-6)

    m_j is response j's mean token reward; the standard deviation has K - 1 in its denominator and
    the 1e-6 is verl's. Raises ValueError for a group of one.
    """
    sequence_rewards = sequence_mean(rewards, mask)
    mean, std = group_mean(sequence_rewards, group), group_std(sequence_rewards, group)
    # Without the 1e-6 a group of equal outcomes would be 0 / 0.
    return (rewards - mean[:, None]) / (std[:, None] + 1e-6)


def dr_grpo(
    rewards: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    baseline: str,
) -> Float[Tensor, "B T"]:
    """Token rewards less the group's mean, not divided by its spread (arXiv 2503.20783).

        r_it - mean_j m_j

    Raises ValueError for a group of one: its advantage would always be 0.
    """
    # Called for its error alone: group_mean itself would accept a group of one.
    sizes_of_two(group)
    return rewards - group_mean(sequence_mean(rewards, mask), group)[:, None]


def reinforce(
    rewards: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    baseline: str,
) -> Float[Tensor, "B T"]:
    """Token rewards unchanged: no baseline (Williams 1992)."""
    return rewards


def opo(
    rewards: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    baseline: str,
) -> Float[Tensor, "B T"]:
    """Token rewards less the group's mean in which a response weighs its length (arXiv 2505.23585).

        r_it - sum_j |y_j| m_j / sum_j |y_j|

    m_j is response j's mean token reward, so the baseline of token rewards is the mean over all
    tokens of the group. Raises ValueError for a group of one: its advantage would always be 0.
    """
    sizes_of_two(group)
    num_tokens = group_sum(mask.sum(1), group).clamp(min=1)
    return rewards - (group_sum(sequence_sum(rewards, mask), group) / num_tokens)[:, None]


ADV_ESTIMATORS: dict[str, Estimator] = {
    "rloo": rloo,
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "reinforce": reinforce,
    # REINFORCE++ (arXiv 2501.03262) is REINFORCE whitened over the batch, see `advantages`.
    "reinforce_pp": reinforce,
    # Its baseline is the group's mean; whitened likewise.
    "reinforce_pp_baseline": dr_grpo,
    "opo": opo,
    # ReMax's baseline is not made of the group's rewards, see `remax_outcome`.
    "remax": reinforce,
    # Outcomes of trees are credited by prime_core.trees; so are process rewards centred.
    "treerl": rloo,
    "treerl_code": rloo,
    "tree_grpo": grpo,
    "tree_grpo_code": grpo,
}
# Without whitening they would be the estimator that they share a function with, so the setting
# `whiten` cannot turn it off.
ALWAYS_WHITENED = {"reinforce_pp", "reinforce_pp_baseline"}
# These compare no responses, so a token's own penalty reaches the tokens before it alone.
TOKEN_WISE = {"reinforce", "reinforce_pp", "remax"}


def outcome_returns(
    outcome: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    adv_estimator: str,
    gamma_outcome: float,
    penalty: Float[Tensor, "B T"] | None = None,
    discount_unit: str = "token",
    invalid: Float[Tensor, "B T"] | None = None,
    forks: Forks | None = None,
) -> Float[Tensor, "B T"]:
    """Centred outcome, placed at each response's last token and discounted back to every token.

        R_it = gamma_outcome^(last_i - t) (r_i - invalid_it - baseline_i)

    discount_unit: what last_i - t counts, as in prime_core.turns. invalid: what the outcome is less
    at tokens of turns whose action the environment could not take; a baseline is then made of each
    response's mean over its tokens. penalty: what each token's reward is less
    (policy.kl_in_reward). Estimators that compare responses take it out of the response's outcome,
    r_i - sum_t p_it; the others (TOKEN_WISE) out of the token's return,
    R_it - sum_{s >= t} gamma_outcome^(s - t) p_is. Both are verl's. forks: see `tree_returns`,
    which TREE_ESTIMATORS take instead.
    docs/decisions.md#kl-in-reward
    """
    if penalty is not None and adv_estimator not in TOKEN_WISE:
        outcome = outcome - sequence_sum(penalty, mask)
    if adv_estimator in TREE_ESTIMATORS:
        how = (adv_estimator, gamma_outcome, discount_unit)
        return tree_returns(outcome, mask, group, forks, *how)
    # As a response each of whose tokens has the outcome as its reward: its mean reward is then the
    # outcome itself, so no estimator needs a second version for outcomes, and those that weigh
    # responses by length find it.
    constant = at_least_float32(outcome)[:, None].expand(mask.shape)
    constant = constant if invalid is None else constant - only(invalid, mask)
    # The setting `baseline` does not matter here: with equal rewards both are the same.
    centred = ADV_ESTIMATORS[adv_estimator](constant, mask, group, "paper")
    last = last_token(mask)
    rewards = centred * last
    if invalid is not None:  # a turn's own outcome, however far the response's end is
        own = centred - sequence_sum(rewards, mask)[:, None]
        own = only(own * discounted_over(last, mask, gamma_outcome, discount_unit), mask)
    if penalty is not None and adv_estimator in TOKEN_WISE:
        rewards = rewards - only(penalty, mask)
    returns = discounted_over(rewards, mask, gamma_outcome, discount_unit)
    return returns if invalid is None else returns + own


def process_returns(
    implicit_reward: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    adv_estimator: str,
    baseline: str,
    gamma_process: float,
    credit: str = "sum",
    step_ends: Bool[Tensor, "B T"] | None = None,
    discount_unit: str = "token",
) -> Float[Tensor, "B T"]:
    """Centred implicit rewards, discounted and summed from each token on.

        R_it = sum_{s >= t} gamma_process^(s - t) rtilde_is

    credit: 'sum'; 'softmin', of rewards `weighted_to_lowest` at temperature 0.1; 'min': not a sum,
    but `lowest_from` each token, centred itself. The last two take rewards at step ends. A baseline
    is a mean over tokens that count (PURE's divides by the padded length). Raises ValueError for
    another credit, and for those two without step_ends.
    """
    if credit not in CREDITS or (credit != "sum" and step_ends is None):
        raise ValueError(
            f"credit must be 'sum', or with step_ends one of {CREDITS}, got {credit!r}"
        )
    rewards = only(implicit_reward, mask)
    if credit != "sum" and step_ends is not None:
        ends = reward_ends(mask, step_ends)
        if credit == "min":
            lowest = only(lowest_from(rewards, ends), mask)
            return only(ADV_ESTIMATORS[adv_estimator](lowest, mask, group, baseline), mask)
        rewards = weighted_to_lowest(rewards, ends, SOFTMIN_TEMPERATURE)
    centred = ADV_ESTIMATORS[adv_estimator](rewards, mask, group, baseline)
    # Masked before the sum as well: estimators subtract the baseline at padding too, and the
    # discounted sum would carry that back to the tokens that count.
    return discounted_over(only(centred, mask), mask, gamma_process, discount_unit)


class ProcessChoices(TypedDict, total=False):
    """How process rewards become returns."""

    baseline: Required[str]
    gamma_process: Required[float]
    credit: str
    step_ends: Bool[Tensor, "B T"] | None


class Choices(ProcessChoices, total=False):
    """How both rewards become returns."""

    gamma_outcome: Required[float]
    outcome_coef: Required[float]
    process_coef: Required[float]
    combine: Required[str]
    process_centre: str
    discount_unit: str
    penalty: Float[Tensor, "B T"] | None
    greedy_outcome: Float[Tensor, " B"] | None
    invalid: Float[Tensor, "B T"] | None
    step_advantage: Float[Tensor, "B T"] | None
    forks: Forks | None


def process_part(
    implicit_reward: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    adv_estimator: str,
    *,
    combine: str,
    process_centre: str,
    discount_unit: str,
    invalid: Float[Tensor, "B T"] | None,
    **process: Unpack[ProcessChoices],
) -> Float[Tensor, "B T"]:
    """What process rewards add to each token's return, see `advantages`."""
    if combine == "returns":
        returns = process_returns(
            implicit_reward, mask, group, adv_estimator, discount_unit=discount_unit, **process
        )
        return only(returns, mask)
    if invalid is not None:
        implicit_reward = penalised_ends(implicit_reward, mask, invalid)
    if process_centre == "none":
        return only(implicit_reward, mask)
    ends = reward_ends(mask, process.get("step_ends"))
    return centred_steps(implicit_reward, mask, ends, group, adv_estimator, process_centre)


def combined_returns(
    outcome: Float[Tensor, " B"],
    implicit_reward: Float[Tensor, "B T"] | None,
    mask: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    adv_estimator: str,
    *,
    gamma_outcome: float,
    outcome_coef: float,
    process_coef: float,
    combine: str,
    process_centre: str = "none",
    discount_unit: str = "token",
    penalty: Float[Tensor, "B T"] | None = None,
    greedy_outcome: Float[Tensor, " B"] | None = None,
    invalid: Float[Tensor, "B T"] | None = None,
    step_advantage: Float[Tensor, "B T"] | None = None,
    forks: Forks | None = None,
    **process: Unpack[ProcessChoices],
) -> Float[Tensor, "B T"]:
    """R of `advantages`, in float64."""
    if adv_estimator == "remax":
        outcome = remax_outcome(outcome.double(), greedy_outcome)
    # float64: a baseline is a difference of sums that nearly cancel, and is summed once more.
    less = None if penalty is None else penalty.double()
    how = (adv_estimator, gamma_outcome, less, discount_unit, invalid, forks)
    returns = outcome_returns(outcome.double(), mask, group, *how)
    # Not their sum: each part would weigh by its scale, which whitening is to take out.
    by_parts = process_centre != "none" and adv_estimator in ALWAYS_WHITENED
    returns = outcome_coef * (masked_whiten(returns, mask) if by_parts else returns)
    if implicit_reward is not None:
        part = process_part(
            implicit_reward.double(),
            mask,
            group,
            adv_estimator,
            combine=combine,
            process_centre=process_centre,
            discount_unit=discount_unit,
            invalid=invalid,
            **process,
        )
        returns = returns + process_coef * (masked_whiten(part, mask) if by_parts else part)
    return returns if step_advantage is None else returns + only(step_advantage.double(), mask)


def advantages(
    *,
    adv_estimator: str,
    outcome: Float[Tensor, " B"],
    implicit_reward: Float[Tensor, "B T"] | None,
    mask: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    whiten: bool,
    **choices: Unpack[Choices],
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Advantages and returns of a whole batch (never of a micro batch: groups must be complete).

        combine = returns:      R_it = outcome_coef R^outcome_it + process_coef R^process_it
        combine = advantages:   R_it = outcome_coef R^outcome_it + process_coef r_it
        A = R whitened over the batch's tokens, if `whiten` (and always for ALWAYS_WHITENED)

    The first is PRIME, Eq. 5; whitening is in its published code. The second adds the token's own
    reward, not summed: as it is (process_centre 'none') or centred over the group's steps, at all
    its step's tokens (`centred_steps`: iStar, arXiv 2509.19199; ALWAYS_WHITENED then whiten both
    parts instead of R). `implicit_reward` None leaves outcomes alone. step_advantage: added to R,
    see `gigpo_steps`. penalty, invalid, discount_unit, forks: as in `outcome_returns`, credit and
    step_ends: as in `process_returns`, greedy_outcome: as in `remax_outcome`. Computed in float64,
    returned in float32.
    Raises ValueError for an outcome of NaN (no verdict: that response must have left the batch),
    a group of one where the estimator compares, an unknown estimator, baseline or combination.
    """
    if adv_estimator not in ADV_ESTIMATORS:
        raise ValueError(f"adv_estimator must be in {list(ADV_ESTIMATORS)}, got {adv_estimator!r}")
    check_choices(outcome, choices["combine"])
    returns = combined_returns(outcome, implicit_reward, mask, group, adv_estimator, **choices)
    by_parts = choices.get("process_centre", "none") != "none"
    whitens = whiten or (adv_estimator in ALWAYS_WHITENED and not by_parts)
    return (masked_whiten(returns, mask) if whitens else returns).float(), returns.float()
