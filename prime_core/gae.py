"""PPO's advantages: generalized advantage estimation (arXiv 1506.02438) from values of states.

In: one outcome a response [B], the implicit reward of every token [B, T] (None: outcomes only), the
mask [B, T] of tokens that count, and values [B, T]: V(s_t), the return expected from the prompt and
the tokens before token t. They come from a value model (PPO, arXiv 1707.06347) or from the implicit
PRM (PRIME, arXiv 2502.01456, Sec. 5.4). Out: advantages and returns [B, T], 0 at tokens that do not
count.

Values after a response's last token never matter: the terminal state is worth 0. (In PRIME's
published code such values leak into the advantages unless they were zeroed before.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from prime_core.masked import last_token, masked_whiten, only, steps_of
from prime_core.outcomes import check_choices
from prime_core.turns import discounted_over, put_back, sampled_first, turn_ends

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def gae(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    gamma: float,
    gae_lambda: float,
    discount_unit: str = "token",
) -> Float[Tensor, "B T"]:
    """Exponentially weighted sum of one-token differences (arXiv 1506.02438, Eq. 16).

        delta_t = r_t + gamma V(s_{t+1}) - V(s_t)           V = 0 after the last token
        A_t = sum_{s >= t} (gamma gae_lambda)^(s - t) delta_s

    gae_lambda 1: the discounted return minus V(s_t); 0: delta_t alone. t counts sampled tokens
    alone: the token after an action is the next action's first, not the observation between them.
    With discount_unit 'turn' the exponents count turns, so gamma and gae_lambda leave a turn's own
    tokens alone.
    """
    # With the sampled tokens side by side; where nothing lies between them this moves nothing.
    order = sampled_first(mask)
    counted = mask.gather(1, order)
    state_values = only(values, mask).gather(1, order)
    # A response ends where its mask does, not at the end of the row: values are zeroed beyond it
    # first, or the last token would bootstrap from padding. docs/decisions.md#one-return
    next_values = gamma * pad(state_values[:, 1:], (0, 1))
    if discount_unit == "turn":
        is_last = turn_ends(mask).gather(1, order)
        next_values = torch.where(is_last, next_values, pad(state_values[:, 1:], (0, 1)))
    differences = only(rewards, mask).gather(1, order) + next_values - state_values
    # The sum of GAE is a discounted return with another discount; padding adds nothing to it, since
    # rewards and values are 0 there.
    differences = put_back(only(differences, counted), order)
    return discounted_over(differences, mask, gamma * gae_lambda, discount_unit)


def step_gae(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    step_ends: Bool[Tensor, "B T"],
    gamma: float,
    gae_lambda: float,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """`gae` with steps for tokens: one advantage for all tokens of a step, and V before the step.

        delta_k = r_k + gamma V_{k+1} - V_k         r_k: rewards of step k; V = 0 after the last
        A_t = A_k = sum_{l >= k} (gamma gae_lambda)^(l - k) delta_l         for t in step k

    V_k is the value at the step's first token. With gamma 1, gae_lambda 0 is VinePPO
    (arXiv 2410.01679, Eq. 6), 1 the outcome minus V_k. gamma discounts by steps.
    """
    numbers, ends = steps_of(mask, step_ends)
    token_rewards = only(rewards, mask)
    step_rewards = torch.zeros_like(token_rewards).scatter_add(1, numbers, token_rewards)
    columns = torch.arange(mask.shape[1], device=mask.device)
    # A step's first token: the least position of those that count in it.
    last = torch.full_like(numbers, mask.shape[1] - 1)
    first = last.scatter_reduce(1, numbers, torch.where(mask, columns, last), "amin")
    # One column a step, so that a response ends where its steps do, as a mask's row does.
    steps = columns < ends.sum(1, keepdim=True)
    step_values = only(only(values, mask).gather(1, first), steps)
    advantages = gae(step_rewards, step_values, steps, gamma, gae_lambda)
    return only(advantages.gather(1, numbers), mask), only(step_values.gather(1, numbers), mask)


def token_rewards(
    outcome: Float[Tensor, " B"],
    implicit_reward: Float[Tensor, "B T"] | None,
    mask: Bool[Tensor, "B T"],
    outcome_coef: float,
    process_coef: float,
) -> Float[Tensor, "B T"]:
    """One reward a token: the outcome at the last one, implicit rewards at all of them.

    r_it = outcome_coef r_o^i [t is the last token] + process_coef r_phi(y_it)
    """
    rewards = outcome_coef * outcome[:, None] * last_token(mask)
    if implicit_reward is not None:
        rewards = rewards + process_coef * only(implicit_reward, mask)
    return rewards


def gae_advantages(
    *,
    outcome: Float[Tensor, " B"],
    implicit_reward: Float[Tensor, "B T"] | None,
    values: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    gamma: float,
    gae_lambda: float,
    outcome_coef: float,
    process_coef: float,
    combine: str,
    whiten: bool,
    gae_level: str = "token",
    step_ends: Bool[Tensor, "B T"] | None = None,
    discount_unit: str = "token",
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Advantages of a whole batch, and the returns that the value model learns.

        combine = returns:      A = gae of the sum of both rewards
        combine = advantages:   A_it = (gae of outcomes)_it + process_coef r_phi(y_it)
        R = gae + V;    A whitened over the batch's tokens, if `whiten`

    The first is PPO with PRIME (arXiv 2502.01456, Table 4), or plain PPO without implicit rewards;
    with the paper's gamma 1 and gae_lambda 1 A_t = sum_{s >= t} r_s - V(s_t). In the second, the
    additive form of iStar (arXiv 2509.19199), the values predict outcomes alone. gae_level 'step':
    `step_gae` over the steps that end at step_ends. In float64, returned in float32. Raises
    ValueError for an outcome of NaN (no verdict), for another combination or level, and for steps
    without their ends.
    docs/decisions.md#one-return
    """
    check_choices(outcome, combine)
    process = None if implicit_reward is None else implicit_reward.double()
    # In the additive form process rewards are added after GAE: here they would count twice.
    summed = process if combine == "returns" else None
    rewards = token_rewards(outcome.double(), summed, mask, outcome_coef, process_coef)
    states = only(values.double(), mask)
    if gae_level == "token":
        advantages = gae(rewards, states, mask, gamma, gae_lambda, discount_unit)
    elif gae_level == "step" and step_ends is not None:
        advantages, states = step_gae(rewards, states, mask, step_ends, gamma, gae_lambda)
    else:
        raise ValueError(f"gae_level must be 'token', or 'step' with step_ends, got {gae_level!r}")
    # Before whitening and the token's own reward: the value model learns in units of the reward.
    returns = advantages + states
    if process is not None and combine == "advantages":
        advantages = advantages + process_coef * only(process, mask)
    if whiten:
        advantages = masked_whiten(advantages, mask)
    return advantages.float(), returns.float()


def prefix_values(
    implicit_reward: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], prm_value: str
) -> Float[Tensor, "B T"]:
    """The implicit PRM as value model: its estimate from the tokens before each token.

        log_odds:       V(s_t) = sum_{s < t} r_phi(y_s)             (PRIME, Sec. 5.4)
        probability:    V(s_t) = sigmoid(sum_{s < t} r_phi(y_s))

    The PRM is trained to make the sum the log-odds that the response will be correct
    (arXiv 2412.01981); the second is in units of the outcome. An empty prefix has log-odds 0.
    Raises ValueError for another `prm_value`. docs/decisions.md#prm-log-odds
    """
    rewards = only(implicit_reward.double(), mask)
    # Exclusive of the token itself: a baseline that depends on the action biases the gradient.
    before = rewards.cumsum(1) - rewards
    if prm_value == "log_odds":
        return only(before, mask).float()
    if prm_value == "probability":
        return only(torch.sigmoid(before), mask).float()
    raise ValueError(f"prm_value must be 'log_odds' or 'probability', got {prm_value!r}")
