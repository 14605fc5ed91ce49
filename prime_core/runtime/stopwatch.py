"""Seconds of a stage's parts, as metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

Metrics = dict[str, float | int]


class Stopwatch:
    """Seconds spent in named parts of a stage, as metrics `timing_s/<part>`."""

    def __init__(self) -> None:
        """Start with no parts."""
        self.seconds: Metrics = {}
        self._begun: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the seconds of the enclosed block to one part."""
        key = f"timing_s/{name}"
        self._begun[key] = time.perf_counter()
        try:
            yield
        finally:
            self.seconds = self.so_far()
            del self._begun[key]

    def so_far(self) -> Metrics:
        """`seconds`, plus the time elapsed in parts that are still running."""
        now = time.perf_counter()
        running = {key: self.seconds.get(key, 0.0) + now - at for key, at in self._begun.items()}
        return self.seconds | running
