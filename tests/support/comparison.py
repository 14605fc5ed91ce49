"""Comparing our arrays with those of a published implementation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.support.shared_data import reference

# What index.json says of a file that changes no number: where it came from, what was recorded.
_DESCRIPTIONS = {"fn", "note", "arrays", "model", "metrics"}


class NotExpressible(ValueError):
    """A reference file was made with a setting that nothing of ours has, or that nobody knows."""


class Settings(dict[str, Any]):
    """Settings of a reference file, which knows those that have been read."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """As of a dict."""
        self.read.add(key)
        return super().get(key, default)

    def only(self, key: str, *known: Any) -> Any:
        """The value of a setting of which these values are known, the first where it is absent."""
        value = self.get(key, known[0])
        if value not in known:
            raise NotExpressible(f"{key} {value!r}: expected {' or '.join(map(repr, known))}")
        return value

    @property
    def unread(self) -> list[str]:
        """Settings that changed the reference's numbers and, so far, none of ours."""
        return sorted(set(self) - self.read - _DESCRIPTIONS)


_GIVEN: dict[str, Settings] = {}  # by file: what `tensors` gave last


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


def tensors(name: str) -> tuple[dict[str, Tensor], Settings]:
    """Arrays of one reference file as tensors, and its settings."""
    arrays, settings = reference(name)
    _GIVEN[name] = Settings(settings)
    numbers = {key: value for key, value in arrays.items() if value.dtype.kind != "U"}  # no names
    return {key: torch.as_tensor(value) for key, value in numbers.items()}, _GIVEN[name]


def refuse_unread(name: str) -> None:
    """Raise NotExpressible for a setting of a file that its comparison did not look at."""
    if unread := _GIVEN[name].unread:
        raise NotExpressible(f"{', '.join(unread)}: read by nothing here")


def groups_of(num_responses: int, num_samples: int) -> Tensor:
    """Groups of responses that stand one after the other, as in the published code."""
    return torch.arange(num_responses) // num_samples


def lists(ours: list[float], theirs: list[float]) -> tuple[Tensor, Tensor]:
    """Two lists of numbers as tensors."""
    return torch.tensor(ours), torch.tensor(theirs)
