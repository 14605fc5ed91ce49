"""Sums and sizes over groups: the responses to one prompt.

In: one value a response [B] and the group each response belongs to [B], any integers in any order;
groups may differ in size. Out: [B], each response holding its own group's number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prime_core.masked import at_least_float32

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def group_sum(values: Float[Tensor, " B"], group: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Sum over the responses of each response's group, itself included."""
    # Groups may be any integers, and index_add needs indices from 0 on.
    names, index = group.unique(return_inverse=True)
    values = at_least_float32(values)
    return values.new_zeros(len(names)).index_add(0, index, values)[index]


def group_size(group: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """How many responses each response's group has, itself included."""
    _, index, counts = group.unique(return_inverse=True, return_counts=True)
    return counts[index]


def group_mean(values: Float[Tensor, " B"], group: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Mean over the responses of each response's group, itself included."""
    return group_sum(values, group) / group_size(group)


def group_std(values: Float[Tensor, " B"], group: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Standard deviation (K - 1 in the denominator) within each response's group of K.

    Raises ValueError for a group of one.
    """
    # Deviations first: mean square less squared mean cancels where a group's spread is small.
    deviation = at_least_float32(values) - group_mean(values, group)
    return torch.sqrt(group_sum(deviation.square(), group) / (sizes_of_two(group) - 1))


def sizes_of_two(group: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """Like group_size, but a group of one is an error: it has nothing to be compared with.

    Raises ValueError naming the groups of one response.
    """
    size = group_size(group)
    if bool((size < 2).any()):
        alone = group[size < 2].tolist()
        raise ValueError(f"groups {alone} have a single response: at least two are needed")
    return size


def pairs_within(group: Int[Tensor, " B"]) -> tuple[Int[Tensor, " P"], Int[Tensor, " P"]]:
    """Every ordered pair (i, j) of responses of one group, i = j among them.

    Returns the indices i and the indices j; P is the sum of the groups' squared sizes.
    """
    # Sorted by group, a response's partners are one run of positions: no [B, B] matrix is needed.
    order = group.argsort(stable=True)
    _, counts = group[order].unique_consecutive(return_counts=True)
    size = counts.repeat_interleave(counts)
    first = (counts.cumsum(0) - counts).repeat_interleave(counts)
    left = torch.arange(len(group), device=group.device).repeat_interleave(size)
    before = (size.cumsum(0) - size).repeat_interleave(size)
    right = first[left] + torch.arange(len(left), device=group.device) - before
    # Pairs were found in the sorted order; callers index the original one.
    return order[left], order[right]


def varies_within(values: Float[Tensor, " B"], group: Int[Tensor, " B"]) -> Bool[Tensor, " B"]:
    """Whether a response's group holds different values: whether it has a pair to compare."""
    left, right = pairs_within(group)
    differs = (values[left] != values[right]).float()
    return torch.zeros(len(values), device=values.device).index_add(0, left, differs) > 0
