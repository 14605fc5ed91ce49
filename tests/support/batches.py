"""Random batches for properties: ragged groups in any order, ragged lengths, rubbish as padding."""

from dataclasses import dataclass

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

# No deadline: the cores are shared. The same examples every time: a test that fails, fails again.
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("repeatable")

seeds = st.integers(min_value=0, max_value=2**31)


@dataclass
class Batch:
    """Responses with rewards, outcomes, masks and groups."""

    outcome: Tensor
    reward: Tensor
    mask: Tensor
    group: Tensor

    def rows(self, order: Tensor) -> "Batch":
        """The batch's responses in another order."""
        return Batch(self.outcome[order], self.reward[order], self.mask[order], self.group[order])


def random_batch(seed: int, num_groups: int = 3, num_tokens: int = 9) -> Batch:
    """Groups of 2 to 5 responses of 1 to `num_tokens` tokens; NaN stands after their ends."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(2, 6, (num_groups,), generator=generator)
    group = (10 * torch.arange(num_groups)).repeat_interleave(sizes)
    group = group[torch.randperm(len(group), generator=generator)]
    lengths = torch.randint(1, num_tokens + 1, (len(group), 1), generator=generator)
    mask = torch.arange(num_tokens) < lengths
    reward = torch.randn(mask.shape, generator=generator).masked_fill(~mask, float("nan"))
    outcome = torch.randint(0, 2, (len(group),), generator=generator).float()
    return Batch(outcome, reward, mask, group)


def padded(values: Tensor, width: int, value: float | bool) -> Tensor:
    """The rows with `width` more columns of padding."""
    return torch.nn.functional.pad(values, (0, width), value=value)
