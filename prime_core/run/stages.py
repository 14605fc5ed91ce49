"""The stages of the graph."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Stage:
    """One piece of work; iteration 0: before the first; part: shard or benchmark, or ""."""

    iteration: int
    name: str
    part: str

    def __str__(self) -> str:
        number = [str(self.iteration)] if self.iteration or self.name == "evaluate" else []
        return " ".join([self.name, *number, *([self.part] if self.part else [])])
