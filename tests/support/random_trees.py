"""Trees for tests: random ones whose tokens are numbered, and those of the reference files."""

import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prime_core.trees import Forks


@dataclass
class Trees:
    """Responses of trees. tokens: [B][T_i], a number of its own for each token that was sampled,
    so that two responses share a token where they share its number.
    """

    outcome: Tensor
    mask: Tensor
    group: Tensor
    forks: Forks
    tokens: list[list[int]]

    def rows(self, order: Tensor) -> "Trees":
        """The responses in another order."""
        one = self.forks
        forks = Forks(one.sample[order], one.parent[order], one.fork[order], one.weight)
        tokens = [self.tokens[row] for row in order.tolist()]
        return Trees(self.outcome[order], self.mask[order], self.group[order], forks, tokens)


def trees_of(tokens: list[list[int]], outcome: Tensor, group: Tensor, forks: Forks) -> Trees:
    """With the mask of the tokens."""
    lengths = torch.tensor([[len(one)] for one in tokens])
    mask = torch.arange(int(lengths.max())) < lengths
    return Trees(outcome, mask, group, forks, tokens)


def random_trees(seed: int, num_groups: int = 2, num_tokens: int = 8) -> Trees:
    """Prompts with 2 to 9 responses of up to `num_tokens`, chains and forks of forks, shuffled."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    rows: list[tuple[int, int, int, int, list[int]]] = []
    count = 0
    for group in range(num_groups):
        own: list[tuple[int, list[int]]] = []  # fork and tokens of the group's responses
        for sample in range(draw(2, 10)):
            may_fork = [n for n, (fork, tokens) in enumerate(own) if len(tokens) > fork + 1]
            parent, fork = -1, 0
            if may_fork and draw(0, 3):
                parent = may_fork[draw(0, len(may_fork))]
                fork = draw(own[parent][0] + 1, len(own[parent][1]))
            begun = own[parent][1][:fork] if parent >= 0 else []
            length = draw(1, num_tokens - fork + 1)
            tokens = [*begun, *range(count, count + length)]
            count += length
            own.append((fork, tokens))
            rows.append((7 * group, sample, parent, fork, tokens))
    order = torch.randperm(len(rows), generator=generator)
    groups, samples, parents, starts = (
        torch.tensor([row[column] for row in rows]) for column in range(4)
    )
    outcome = torch.randint(0, 2, (len(rows),), generator=generator).double()
    found = trees_of([row[4] for row in rows], outcome, groups, Forks(samples, parents, starts))
    return found.rows(order)


def trees_of_nodes(text: str) -> Trees:
    """One prompt's trees from the JSON of a reference file: nodes with tokens of their own."""
    nodes: list[dict[str, Any]] = json.loads(text)
    number = {(one["tree"], one["node"]): sample for sample, one in enumerate(nodes)}
    tokens: list[list[int]] = []
    parents, starts = [], []
    for one in nodes:
        parent = number[one["tree"], one["parent"]] if one["parent"] >= 0 else -1
        fork = max(one["split"], 0)
        tokens.append([*(tokens[parent][:fork] if parent >= 0 else []), *one["tokens"]])
        parents.append(parent)
        starts.append(fork)
    samples = torch.arange(len(nodes))
    forks = Forks(samples, torch.tensor(parents), torch.tensor(starts))
    outcome = torch.tensor([one["outcome"] for one in nodes]).double()
    return trees_of(tokens, outcome, torch.zeros_like(samples), forks)
