"""What the page's section on reproduction shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prime_core.evaluation.statistics.differences import reading
from prime_core.report.reproduction.comparison import Comparison, Reproduction, compare
from prime_core.report.reproduction.paper_settings import SettingDifference
from prime_core.report.reproduction.published import HARDWARE
from prime_core.report.reproduction.time_to_accuracy import (
    Hours,
    Reached,
    hours_of,
    iteration_costs,
    reached,
)
from prime_core.report.tables.collect import RunTables

READINGS = {
    "within error": "not distinguishable",
    "above": "above",
    "below": "below",
}


@dataclass(frozen=True)
class PaperSettings:
    """Settings in which the run differs from `config`, a file's name; "": no file to compare."""

    config: str
    differences: list[SettingDifference]


@dataclass(frozen=True)
class ReproductionSection:
    """The contents of the section, without its figures."""

    found: Reproduction
    hours: Hours
    reached: list[Reached]
    costs: list[dict[str, Any]]
    hardware: str
    settings: PaperSettings

    @property
    def has_paper_costs(self) -> bool:
        """Whether the published row says how long its iterations took."""
        return self.found.row.seconds is not None

    @property
    def differing(self) -> list[SettingDifference]:
        """Settings that may not change while a run is under way."""
        return [row for row in self.settings.differences if not row.changeable]

    @property
    def changeable(self) -> list[SettingDifference]:
        """Length, shards, sizes of a pass and the like."""
        return [row for row in self.settings.differences if row.changeable]


def reproduction_section(run: RunTables, settings: PaperSettings) -> ReproductionSection:
    """The section's contents, from the run's tables. settings: what differs from the paper's."""
    found, hours = compare(run), hours_of(run)
    return ReproductionSection(
        found=found,
        hours=hours,
        reached=reached(run, found, hours),
        costs=iteration_costs(run, hours, found.row.seconds),
        hardware=HARDWARE,
        settings=settings,
    )


def in_words(comparison: Comparison) -> str:
    """How the run's figure compares with the published one."""
    return READINGS[reading(comparison.difference)]
