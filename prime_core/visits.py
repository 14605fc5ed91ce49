"""Values of turns by counting visits: AgentPRM's targets (arXiv 2502.10325), without its model.

In: outcomes [B] of episodes, a number for the state that each turn answered and for what it did
[B, N] (N the most turns of an episode; a state of -1: no turn). Out: Q and V [B, N], in [0, 1].
Worth something only where states repeat, as in environments; in free text every state is its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from prime_core.groups import group_mean, group_size
from prime_core.masked import only

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def turn_returns(
    outcome: Float[Tensor, " B"], states: Int[Tensor, "B N"], gamma: float
) -> Float[Tensor, "B N"]:
    """What an episode came to, as its turns see it.

        G_k = (gamma^(n - 1 - k) (2 r_o - 1) + 1) / 2          n the episode's turns

    gamma < 1 moves early turns towards 1/2: the sooner the end, the surer the credit.
    """
    is_turn = states >= 0
    last = is_turn.sum(1, keepdim=True) - 1
    left = (last - torch.arange(states.shape[1], device=states.device)).clamp(min=0)
    signed = gamma ** left.double() * (2 * outcome.double() - 1)[:, None]
    return only((signed + 1) / 2, is_turn)


def visit_values(
    returns: Float[Tensor, "B N"], states: Int[Tensor, "B N"], actions: Int[Tensor, "B N"]
) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]:
    """Q of what was done in a state, and V of the state: means over all visits in the batch.

        Q(s, a) = mean of G over the turns that did a in s,      V(s) = mean of G over those in s

    V is Q's mean over what the policy did there, so Q - V has the mean 0 in every state.
    """
    is_turn = states >= 0
    of_turns = returns[is_turn]
    state, pair = states[is_turn], _pairs(states, actions)[is_turn]
    q, v = group_mean(of_turns, pair), group_mean(of_turns, state)
    nothing = torch.zeros_like(returns)
    return nothing.masked_scatter(is_turn, q), nothing.masked_scatter(is_turn, v)


def visit_rewards(
    returns: Float[Tensor, "B N"], states: Int[Tensor, "B N"], actions: Int[Tensor, "B N"]
) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]:
    """Rewards of turns beside which V has the differences Q - V, and V.

        r_k = Q(s_k, a_k) - V(s_{k+1})          V = 0 after the last turn

    So `gae` finds delta_k = r_k + V(s_{k+1}) - V(s_k) = Q(s_k, a_k) - V(s_k): what was done against
    what is done there otherwise.
    """
    q, v = visit_values(returns, states, actions)
    return q - pad(v[:, 1:], (0, 1)), v


def repeated_share(states: Int[Tensor, "B N"], actions: Int[Tensor, "B N"]) -> tuple[float, float]:
    """Share of turns whose state, and whose state and action, the batch has more than once."""
    is_turn = states >= 0
    keys = (states[is_turn], _pairs(states, actions)[is_turn])
    of_states, of_pairs = ((group_size(key) > 1).double().mean() for key in keys)
    return float(of_states), float(of_pairs)


def _pairs(states: Int[Tensor, "B N"], actions: Int[Tensor, "B N"]) -> Int[Tensor, "B N"]:
    """A number for each state and action together."""
    return states * (actions.max() + 1) + actions
