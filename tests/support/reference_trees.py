"""Our advantages of trees beside the published ones: each function compares one reference file."""

from dataclasses import replace

import torch

from prime_core.trees import tree_grpo_code, treerl_code
from tests.support.comparison import Comparison, compare, tensors
from tests.support.random_trees import trees_of_nodes


def treerl(name: str) -> list[Comparison]:
    """TreeRL's advantages as its code computes them; a file's name ends with the weight."""
    x, settings = tensors(name)
    trees = trees_of_nodes(settings["nodes"])
    m, n, l, t = (settings[key] for key in "mnlt")  # noqa: E741
    assert len(trees.tokens) == m * (1 + n * t * l)
    forks = replace(trees.forks, weight=name.rpartition("_")[2])
    ours = treerl_code(trees.outcome, trees.mask, trees.group, forks)
    # The published leaves stand in another order, and padding is -1.
    theirs = [[token for token in row if token >= 0] for row in x["tokens"].tolist()]
    rows = ours[[trees.tokens.index(row) for row in theirs]]
    wide = torch.zeros_like(x["advantages"])
    wide[:, : rows.shape[1]] = rows
    return [compare("advantages", wide, x["advantages"])]


def tree_grpo(name: str) -> list[Comparison]:
    """Tree-GRPO's advantages as its code computes them, the same at each token of a response."""
    x, _ = tensors(name)
    ours = tree_grpo_code(x["outcome"].double(), x["prompt"], x["tree"])
    return [compare("advantages", ours[:, None] * x["mask"], x["advantages"])]
