"""The ways in which a run's stages may start, and what each of them spares.

In: settings. Out: Ways. A stage is a Slurm job of its own, or a process of one allocation or of one
machine; there it starts by itself or is forked from a process that has imported everything
(docs/decisions.md#fork-server).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from prime_core.settings.evaluation import Benchmark
from prime_core.settings.run import Settings

Place = Literal["allocation", "local", "slurm"]
PLACES: tuple[Place, ...] = get_args(Place)
RESIDENT: tuple[str, ...] = get_args(Settings.model_fields["resident"].annotation)
# Stages whose models stay loaded in a process of their own, with `resident: engines`.
KEPT_STAGES = ("sample", "policy", "prm", "value")


@dataclass(frozen=True)
class Way:
    """place: where stages run; resident: how they start there (settings' `resident`)."""

    place: Place
    resident: str

    @property
    def name(self) -> str:
        """For tables: "slurm", "allocation, fork"."""
        return self.place if self.place == "slurm" else f"{self.place}, {self.resident}"

    @property
    def forks(self) -> bool:
        """Whether stages are children of a process that has imported everything."""
        return self.resident != "none"

    @property
    def copies(self) -> bool:
        """Whether the newest weights are also in the node's memory (fast_storage_gb)."""
        return self.place == "allocation"

    def keeps(self, stage: str) -> bool:
        """Whether the stage finds its engine loaded, from its second iteration on."""
        return self.resident == "engines" and stage in KEPT_STAGES

    @property
    def is_one_machine(self) -> bool:
        """Whether a stage finds in memory what the one before has left there."""
        return self.place != "slurm"

    def command(self, usual: str) -> str:
        """How a run is started in this way. usual: the settings' own `resident`."""
        start = "snakemake" if self.place == "local" else f"prime launch --profile {self.place}"
        differs = self.place != "slurm" and self.resident != usual
        return start + f" --config resident={self.resident}" * differs


def state_storage(settings: Settings) -> str:
    """Where updates leave their training states: "disk", or "memory" until they are copied.

    A version without the setting training.state_storage writes them to disk.
    """
    return getattr(settings.training, "state_storage", "disk")


def num_shards(benchmark: Benchmark) -> int:
    """Jobs that a benchmark's problems are split into; one in a version without that setting."""
    return getattr(benchmark, "num_shards", 1)


def way_of(place: Place, settings: Settings) -> Way:
    """The way of a run with these settings in this place."""
    # Jobs of their own must belong to their own cgroup and accounting: they always start cold.
    return Way(place, "none" if place == "slurm" else settings.resident)


def all_ways() -> list[Way]:
    """Every way that this version has, the quicker kinds first."""
    ways = [Way(place, how) for place in ("allocation", "local") for how in reversed(_ordered())]
    return [*ways, Way("slurm", "none")]


def _ordered() -> list[str]:
    return [name for name in ("none", "fork", "engines") if name in RESIDENT]
