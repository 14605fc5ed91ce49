"""Outcomes before advantages are made of them: which are refused, and what is taken from them.

In: one outcome a response [B]. Out: the same, less a penalty or a baseline of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def check_choices(outcome: Float[Tensor, " B"], combine: str) -> None:
    """Raises ValueError for an unknown combination and for responses without an outcome."""
    if combine not in ("returns", "advantages"):
        raise ValueError(f"combine must be 'returns' or 'advantages', got {combine!r}")
    # One NaN would spread to its group through the baseline, and to the whole batch by whitening.
    if bool(outcome.isnan().any()):
        without = outcome.isnan().nonzero().flatten().tolist()
        raise ValueError(f"responses {without} have no verdict (NaN): take them out of the batch")


def overlong_shaped(
    outcome: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    max_response_length: int,
    buffer_len: int,
    penalty_factor: float,
) -> Float[Tensor, " B"]:
    """Outcomes less a penalty that grows over the last tokens before the limit (DAPO, 2503.14476).

        r_i + min(-(|y_i| - (max_response_length - buffer_len)) / buffer_len penalty_factor, 0)

    buffer_len 0: the outcomes unchanged. In tokens, all but the outcome and the factor.
    """
    if buffer_len == 0:
        return outcome
    excess = mask.sum(1) - (max_response_length - buffer_len)
    return outcome + (-excess / buffer_len * penalty_factor).clamp(max=0)


def remax_outcome(
    outcome: Float[Tensor, " B"], greedy_outcome: Float[Tensor, " B"] | None
) -> Float[Tensor, " B"]:
    """Outcomes less that of the greedy response to the same prompt (ReMax, arXiv 2310.10505).

        r_i - r(greedy response to the prompt of i)

    The greedy response is the policy's own and not trained on. Raises ValueError where it is not
    given, or has no verdict (NaN).
    """
    if greedy_outcome is None or bool(greedy_outcome.isnan().any()):
        raise ValueError("adv_estimator 'remax' needs the outcome of each prompt's greedy response")
    return outcome - greedy_outcome
