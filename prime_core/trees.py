"""Advantages of responses that fork from one another: trees (TreeRL, Tree-GRPO).

In: one outcome a response [B], the mask [B, T] of tokens that count, the group [B] of each response
and, in `Forks`, which response of its group each one forked from. Out: advantages [B, T] of
outcomes, 0 at tokens that do not count.

The leaves of a node are the responses that share its tokens. A prompt's root is the empty prefix,
so that all its chains, and their trees, hang from one root. A token that L responses share is
trained on L times, once with each of them; hence the weight of TreeRL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prime_core.groups import group_mean, group_size, group_std, group_sum, sizes_of_two
from prime_core.masked import last_token, only, sequence_sum
from prime_core.turns import discounted_over

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

TREE_ESTIMATORS = ("treerl", "treerl_code", "tree_grpo", "tree_grpo_code")
# What the values of a node with so many leaves are divided by.
TREE_WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "sqrt": torch.sqrt,
    "uniform": lambda num_leaves: num_leaves,
    "none": torch.ones_like,
}
_ZERO = 1e-8  # TreeRL's: a step of value below it counts as none


@dataclass(frozen=True)
class Forks:
    """Where responses fork: [B] each.

    sample: number of the response in its group. parent: the sample that it forked from, -1: none,
    it is a chain. fork: index of its first own token, 0 for chains; the tokens before it are the
    parent's. weight: what TreeRL divides a node's value by, a name in TREE_WEIGHTS.
    """

    sample: Int[Tensor, " B"]
    parent: Int[Tensor, " B"]
    fork: Int[Tensor, " B"]
    weight: str = "sqrt"


@dataclass(frozen=True)
class Nodes:
    """Runs of tokens that the same responses share, numbered so that parents come first.

    node: [B, T], of each token, -1 behind a response's end. up: [N], the node before each one, -1
    before a prompt's root; root: [N], that root. num_leaves: [N]. pairs: [2, P], each response and
    each of the nodes on its path, the root among them. tree: [B], a number for the chain that each
    descends from.
    """

    node: Int[Tensor, "B T"]
    up: Int[Tensor, " N"]
    root: Int[Tensor, " N"]
    num_leaves: Int[Tensor, " N"]
    pairs: Int[Tensor, "2 P"]
    tree: Int[Tensor, " B"]

    def means(self, values: Float[Tensor, " B"]) -> Float[Tensor, " N"]:
        """Mean over each node's leaves."""
        rows, nodes = self.pairs
        sums = values.new_zeros(len(self.up)).index_add(0, nodes, values[rows])
        return sums / self.num_leaves


def tree_nodes(forks: Forks, mask: Bool[Tensor, "B T"], group: Int[Tensor, " B"]) -> Nodes:
    """The nodes of all prompts' trees.

    Raises ValueError for a parent that is not there, and a fork that is not within its own tokens.
    """
    ends = ((torch.arange(mask.shape[1]) + 1) * mask.cpu()).amax(1).tolist()
    parents = _parents(forks, group, ends)
    starts: list[int] = forks.fork.tolist()
    cuts: list[set[int]] = [{start} for start in starts]
    for row, parent in enumerate(parents):
        if parent >= 0:
            cuts[parent].add(starts[row])
    names: list[int] = group.tolist()
    roots = {name: number for number, name in enumerate(dict.fromkeys(names))}
    up, root = [-1] * len(roots), [*roots.values()]
    # By row: (node, first token, token behind the last) from the response's beginning on.
    paths: dict[int, list[tuple[int, int, int]]] = {}
    trees = list(range(len(parents)))
    # A fork lies behind its parent's, so parents come first.
    for row in sorted(range(len(parents)), key=starts.__getitem__):
        parent = parents[row]
        path = [] if parent < 0 else [one for one in paths[parent] if one[2] <= starts[row]]
        for first, behind in pairwise([*sorted(cuts[row]), ends[row]]):
            up.append(path[-1][0] if path else roots[names[row]])
            root.append(roots[names[row]])
            path.append((len(up) - 1, first, behind))
        paths[row], trees[row] = path, row if parent < 0 else trees[parent]
    node = torch.full(mask.shape, -1)
    for row, path in paths.items():
        for number, first, behind in path:
            node[row, first:behind] = number
    on_path = [
        (row, number)
        for row in paths
        for number in [roots[names[row]], *(one[0] for one in paths[row])]
    ]
    pairs = torch.tensor(on_path, device=mask.device).T
    return Nodes(
        node=node.to(mask.device),
        up=torch.tensor(up, device=mask.device),
        root=torch.tensor(root, device=mask.device),
        num_leaves=pairs[1].bincount(minlength=len(up)),
        pairs=pairs,
        tree=torch.tensor(trees, device=mask.device),
    )


def _parents(forks: Forks, group: Int[Tensor, " B"], ends: list[int]) -> list[int]:
    """Row of each response's parent, -1: none."""
    names = list(zip(group.tolist(), forks.sample.tolist(), strict=True))
    rows = {name: row for row, name in enumerate(names)}
    found = []
    for row, ((name, sample), parent, fork) in enumerate(
        zip(names, forks.parent.tolist(), forks.fork.tolist(), strict=True)
    ):
        if parent < 0:
            found.append(-1)
            first, behind = 0, 1
        elif (name, parent) not in rows:
            raise ValueError(f"sample {sample} of group {name} forked from {parent}: not there")
        else:
            found.append(rows[name, parent])
            first = int(forks.fork[found[-1]]) + 1
            behind = min(ends[found[-1]], ends[row])
        if not first <= fork < behind:
            raise ValueError(
                f"sample {sample} of group {name} forked from {parent} at token {fork}: expected "
                f"{first} to {behind - 1}"
            )
    return found


def treerl(
    outcome: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    forks: Forks,
) -> Float[Tensor, "B T"]:
    """A node's value beyond the prompt's and beyond the node's before it (TreeRL, 2506.11902).

        V(n) = mean over leaves l of n of (r_l - mean of the prompt's other r)
        A_n = [(V(n) - V(root)) + (V(n) - V(up(n)))] / w(num_leaves(n))

    w: the square root, or another of TREE_WEIGHTS. Without forks A is twice RLOO's. Raises
    ValueError for a prompt of one response.
    """
    nodes = tree_nodes(forks, mask, group)
    value = nodes.means(_leave_one_out(outcome, group))
    # The root's is the mean of centred outcomes, which is 0: here as in the equation, all the same.
    root = value[nodes.root]
    before = value[nodes.up.clamp(min=0)]
    advantage = (2 * value - root - before) / TREE_WEIGHTS[forks.weight](
        nodes.num_leaves.to(value.dtype)
    )
    return only(advantage[nodes.node.clamp(min=0)], mask)


def treerl_code(
    outcome: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    forks: Forks,
) -> Float[Tensor, "B T"]:
    """What TreeRL's code computes (THUDM/TreeRL f0edbea), for comparison with its runs.

        U(n) = (V(n) - mean of V over the tokens of the prompt's responses) / w(num_leaves(n))
        D(n) = U(n) - U(up(n)), but D(up(n)) where that is 0 and up(n) is not the root
        A_n = D(n) + U(n)

    V and w as in `treerl`. The weight is taken before the difference, so D of equal values is not
    0 where the numbers of leaves differ.
    """
    nodes = tree_nodes(forks, mask, group)
    value = nodes.means(_leave_one_out(outcome, group))
    of_tokens = only(value[nodes.node.clamp(min=0)], mask)
    num_tokens = group_sum(mask.sum(1), group)
    mean = group_sum(sequence_sum(of_tokens, mask), group) / num_tokens
    rows, on_path = nodes.pairs
    of_nodes = value.new_zeros(len(value)).index_copy(0, on_path, mean[rows])
    value = (value - of_nodes) / TREE_WEIGHTS[forks.weight](nodes.num_leaves.to(value.dtype))
    step = value - value[nodes.up.clamp(min=0)]
    # One after the other: what is overwritten may be what the next one takes.
    for node, up in enumerate(nodes.up.tolist()):
        if up >= 0 and nodes.up[up] >= 0 and abs(float(step[node])) < _ZERO:
            step[node] = step[up]
    return only((step + value)[nodes.node.clamp(min=0)], mask)


def tree_grpo(
    outcome: Float[Tensor, " B"], group: Int[Tensor, " B"], tree: Int[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """Outcomes in standard deviations from their tree's mean, and from their prompt's, added.

        A_i = (r_i - mean_tree) / (std_tree + 1e-6) + (r_i - mean_prompt) / (std_prompt + 1e-6)

    Tree-GRPO, arXiv 2509.21240. tree: [B], the same number for responses of one tree. A tree of one
    response has nothing to compare within, so without forks A is GRPO's. Raises ValueError for a
    prompt of one response.
    """
    shared = group_size(tree) > 1
    within = torch.zeros_like(outcome)
    within[shared] = _standardized(outcome[shared], tree[shared])
    return within + _standardized(outcome, group)


def tree_grpo_code(
    outcome: Float[Tensor, " B"], group: Int[Tensor, " B"], tree: Int[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """What Tree-GRPO's code computes (AMAP-ML/Tree-GRPO 90b1709): within the prompt, then the tree.

    The second standardization undoes the first, so the prompt counts for trees of one response
    alone.
    """
    shared = group_size(tree) > 1
    found = _standardized(outcome, group)
    found[shared] = _standardized(found[shared], tree[shared])
    return found


def tree_returns(
    outcome: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    forks: Forks | None,
    adv_estimator: str,
    gamma_outcome: float,
    discount_unit: str = "token",
) -> Float[Tensor, "B T"]:
    """Outcome returns of an estimator in TREE_ESTIMATORS; of Tree-GRPO they may be discounted.

    Raises ValueError without forks, and for a discount of TreeRL's: its values are of nodes, not of
    times.
    """
    if forks is None:
        raise ValueError(f"adv_estimator {adv_estimator!r} needs the forks of the responses")
    if adv_estimator in ("treerl", "treerl_code"):
        if gamma_outcome != 1:
            raise ValueError(f"{adv_estimator} has no discount: gamma_outcome {gamma_outcome}")
        form = treerl if adv_estimator == "treerl" else treerl_code
        return form(outcome, mask, group, forks)
    centre = tree_grpo if adv_estimator == "tree_grpo" else tree_grpo_code
    centred = centre(outcome, group, tree_nodes(forks, mask, group).tree)
    rewards = centred[:, None] * last_token(mask)
    return discounted_over(rewards, mask, gamma_outcome, discount_unit)


def _leave_one_out(outcome: Float[Tensor, " B"], group: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Outcomes less the mean of the others of the prompt: K / (K - 1) (r - mean)."""
    size = sizes_of_two(group)
    return (outcome - group_mean(outcome, group)) * size / (size - 1)


def _standardized(values: Float[Tensor, " B"], group: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    return (values - group_mean(values, group)) / (group_std(values, group) + 1e-6)
