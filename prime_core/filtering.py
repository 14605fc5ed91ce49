"""Which responses stay in the batch: prompts neither too easy nor too hard.

In: each response's outcome [B] (NaN: no verdict) and group [B], the responses to one prompt. Out: a
bool mask [B] of the responses that stay.

Tensors in, tensors out, as everywhere here; arrays in, arrays out, since the stage that filters a
table has no other use for torch, which takes longer to import than the filter to run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

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
    # Negative where bounds are exclusive: a mean of 4 in 5 that is rounded to just below 0.8 must
    # stay outside.
    slack = TOLERANCE if inclusive else -TOLERANCE
    judged = outcome == outcome  # NaN alone differs from itself
    sums: dict[int, float] = {}
    counts: dict[int, int] = {}
    for name, value, is_judged in zip(*_lists(group, outcome, judged), strict=True):
        # NaN would make the whole group's sum NaN.
        sums[name] = sums.get(name, 0.0) + (value if is_judged else 0.0)
        counts[name] = counts.get(name, 0) + is_judged
    inside = {
        name
        for name, count in counts.items()
        if count >= 2
        and accuracy_lower_bound - slack <= sums[name] / count <= accuracy_upper_bound + slack
    }
    return judged & _is_in(group, inside)


def truncation_filter(
    truncated: Bool[Tensor, " B"], group: Int[Tensor, " B"]
) -> Bool[Tensor, " B"]:
    """Responses of groups in which no response was cut off at the length limit.

    keep_i = no response j of i's group is truncated
    """
    # The whole group, as in verl's PRIME recipe.
    names, cut = _lists(group, truncated)
    touched = {name for name, is_cut in zip(names, cut, strict=True) if is_cut}
    return _is_in(group, set(names) - touched)


def _lists(*values: Any) -> list[list[Any]]:
    return [one.tolist() for one in values]


def _is_in(group: Any, names: set[int]) -> Any:
    """A mask like `group`, tensor or array, of the responses whose group is among these."""
    mask = group != group  # all false, of the same kind and in the same place
    for index, name in enumerate(group.tolist()):
        if name in names:
            mask[index] = True
    return mask
