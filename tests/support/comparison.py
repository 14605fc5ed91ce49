"""Comparing our arrays with those of a published implementation."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tests.support.shared_data import reference


@dataclass
class Comparison:
    """One array, computed by us and by a published implementation."""

    what: str
    ours: np.ndarray
    theirs: np.ndarray

    @property
    def absolute(self) -> float:
        """Largest absolute difference."""
        return float(np.abs(self.ours - self.theirs).max())

    @property
    def relative(self) -> float:
        """Largest absolute difference over the largest absolute reference value."""
        return self.absolute / max(float(np.abs(self.theirs).max()), 1e-12)


def compare(what: str, ours: Tensor | float, theirs: Tensor) -> Comparison:
    """A comparison in float64; nothing to compare, a wrong shape or a NaN is an error."""
    left, right = torch.as_tensor(ours).detach().double(), theirs.double()
    assert left.shape == right.shape, f"{what}: shape {left.shape}, reference {right.shape}"
    assert left.numel() > 0, f"{what}: nothing to compare"
    assert bool(left.isfinite().all() & right.isfinite().all()), f"{what}: not finite"
    return Comparison(what, left.numpy(), right.numpy())


def agree(comparisons: list[Comparison], tolerance: float = 5e-6) -> None:
    """Assert that there is a comparison, and that each holds relative to its largest value."""
    assert comparisons
    for one in comparisons:
        assert one.relative <= tolerance, f"{one.what}: off by {one.relative:.1e}"


def tensors(name: str) -> tuple[dict[str, Tensor], dict]:
    """Arrays of one reference file as tensors, and its settings."""
    arrays, settings = reference(name)
    return {key: torch.as_tensor(value) for key, value in arrays.items()}, settings


def groups_of(num_responses: int, num_samples: int) -> Tensor:
    """Groups of responses that stand one after the other, as in the published code."""
    return torch.arange(num_responses) // num_samples


def lists(ours: list[float], theirs: list[float]) -> tuple[Tensor, Tensor]:
    """Two lists of numbers as tensors."""
    return torch.tensor(ours), torch.tensor(theirs)
