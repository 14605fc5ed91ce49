"""Published figures (published.yaml): rows of papers' tables, with the uncertainty that they have.

A figure of N problems is as uncertain as N answers make it, whoever printed it. For several samples
per problem nobody printed the spread, so each problem counts once: the interval is then too wide
rather than too narrow. docs/decisions.md#published-intervals
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import Field

from prime_core.evaluation.statistics.differences import Estimate
from prime_core.evaluation.statistics.intervals import mean_interval
from prime_core.runtime.repository import REPOSITORY
from prime_core.settings.reading import checked, load_yaml
from prime_core.settings.section import Section

FILE = Path(__file__).with_name("published.yaml")
PAPER_CONFIGS = REPOSITORY / "configs" / "paper"
MAIN_ROW = "prime-592"
NUM_GPUS, HARDWARE = 8, "8 A800"  # of `seconds`


class Sampling(Section):
    """How responses were sampled."""

    samples: int
    temperature: float


class Benchmark(Sampling):
    """A published benchmark: its problems and how its figures were sampled."""

    title: str
    names: list[str]
    num_problems: int
    max_response_length: int | None


class Seconds(Section):
    """Seconds of an iteration on HARDWARE."""

    sampling: float
    policy: float
    prm: float
    other: float


class Row(Section):
    """One row of a published table; figures in percent by benchmark."""

    title: str
    iteration: int | None = None
    config: str | None = None
    start: str | None = None
    own_protocol: bool = False
    figures: dict[str, float]
    mean: float | None = None
    avg16: dict[str, float] = Field(default_factory=dict)
    seconds: Seconds | None = None


class Published(Section):
    """The contents of published.yaml."""

    benchmarks: dict[str, Benchmark]
    avg16: Sampling
    rows: dict[str, Row]

    def benchmark_of(self, name: str) -> str | None:
        """The published benchmark that a run's own name means; None: there is no twin."""
        plain = re.sub(r"[^a-z0-9]", "", name.lower())
        for key, benchmark in self.benchmarks.items():
            # The whole name: "math5000" is not MATH-500, "aime24_avg16" is AIME 2024.
            if any(re.fullmatch(rf"{known}(avg\d+|greedy)?", plain) for known in benchmark.names):
                return key
        return None

    def figure(self, row: Row, benchmark: str, samples: int) -> Figure | None:
        """What a row has of a benchmark: avg@16 where the run samples several times, too."""
        known = self.benchmarks[benchmark]
        if samples > 1 and benchmark in row.avg16:
            return Figure(_wilson(row.avg16[benchmark], known.num_problems), self.avg16, True)
        if benchmark in row.figures:
            sampling = None if row.own_protocol else known
            return Figure(_wilson(row.figures[benchmark], known.num_problems), sampling)
        return None

    def siblings(self, row: Row) -> list[Row]:
        """All rows of the same run, by iteration, the model that it begins with first."""
        own = [other for other in self.rows.values() if other.config and other.config == row.config]
        start = [self.rows[row.start]] if row.start else []
        known = {other.iteration: other for other in [*start, *own] if other.iteration is not None}
        return [known[iteration] for iteration in sorted(known)]


@dataclass(frozen=True)
class Figure:
    """A published figure (shares) and how it was sampled; None: that is not stated.

    averaged: it is one of `avg16`, beside the row's own.
    """

    estimate: Estimate
    sampling: Sampling | None
    averaged: bool = False


@cache
def published() -> Published:
    """The published figures, read once. Raises SettingsError naming the file and the key."""
    return checked(Published, load_yaml(FILE), FILE.name)


def _wilson(percent: float, num_problems: int) -> Estimate:
    # Equal means have no spread, where mean_interval takes Wilson's interval of so many answers
    # (docs/decisions.md#published-intervals).
    return Estimate(*mean_interval(np.full(num_problems, percent / 100)))
