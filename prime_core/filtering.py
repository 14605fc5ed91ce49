"""Which responses stay in the batch: prompts neither too easy nor too hard.

In: each response's outcome [B] (NaN: no verdict) and group [B], the responses to one prompt. Out: a
bool mask [B] of the responses that stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from prime_core.groups import group_sum

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

# Above the rounding error of float32 outcomes and of bounds such as 0.2, below the distance of any
# two accuracies of groups of a thousand: a group of exactly 1 in 5 must not be lost to rounding.
TOLERANCE = 1e-7


def accuracy_filter(
    outcome: Float[Tensor, " B"],
    group: Int[Tensor, " B"],
    accuracy_lower_bound: float = 0.2,
    accuracy_upper_bound: float = 0.8,
    inclusive: bool = True,
) -> Bool[Tensor, " B"]:
    """Judged responses of groups whose mean outcome lies within the bounds (arXiv 2502.01456).

        keep_i = judged_i and lower <= mean of the judged outcomes of i's group <= upper

    With `inclusive` off the mean must lie strictly between the bounds. Responses without a verdict
    (NaN) leave and do not count in the mean; groups with fewer than two judged responses leave,
    since an advantage compares a response with the others.
    """
    judged = ~outcome.isnan()
    num_judged = group_sum(judged.double(), group)
    # NaN would make the whole group's sum NaN. The clamp only avoids 0 / 0 in groups without any
    # verdict, which leave below in any case.
    accuracy = group_sum(outcome.double().nan_to_num(0.0), group) / num_judged.clamp(min=1)
    # Negative where bounds are exclusive: a mean of 4 in 5 that is rounded to just below 0.8 must
    # stay outside.
    slack = TOLERANCE if inclusive else -TOLERANCE
    inside = (accuracy >= accuracy_lower_bound - slack) & (accuracy <= accuracy_upper_bound + slack)
    return judged & (num_judged >= 2) & inside


def truncation_filter(
    truncated: Bool[Tensor, " B"], group: Int[Tensor, " B"]
) -> Bool[Tensor, " B"]:
    """Responses of groups in which no response was cut off at the length limit.

    keep_i = no response j of i's group is truncated
    """
    # The whole group, as in verl's PRIME recipe.
    return group_sum(truncated, group) == 0
