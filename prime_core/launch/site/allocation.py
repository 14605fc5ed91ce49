"""The size of the one allocation that a whole run takes place in.

In: cluster_profiles/allocation/allocation.yaml, options of `prime launch`, what the site's nodes
have. Out: an Allocation, within the site's limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from prime_core.launch.site.site import Kind, Pool, Site
from prime_core.settings.reading import SettingsError, checked, load_yaml

ALLOCATION_FILE = Path("cluster_profiles/allocation/allocation.yaml")
# Where the site's file does not say what its nodes have.
_CPUS, _MEM_GB = 4, 16.0
_MINUTES = 1440


class Wanted(BaseModel):
    """What the file asks for; null: derived from what the site has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: int = Field(1, ge=1)
    gpus_per_node: int | None = Field(None, ge=0)
    cpus_per_task: int | None = Field(None, ge=1)
    mem_gb: float | None = Field(None, gt=0)
    minutes: int | None = Field(None, ge=1)
    reserve_minutes: float = Field(10, ge=0)
    fast_storage_gb: float | None = Field(None, ge=0)


@dataclass(frozen=True)
class Allocation:
    """Nodes, and what is taken of each.

    gpus_per_node: 0 for a run without GPUs; cpus_per_task: cores of a node; minutes: how long it
    lasts; reserve_minutes: the last of these, for checkpoints and the requeue; fast_storage_gb: a
    node's memory for copies of weights between stages.
    """

    pool: Pool
    nodes: int
    gpus_per_node: int
    cpus_per_task: int
    mem_gb: float
    minutes: int
    reserve_minutes: float
    fast_storage_gb: float

    @property
    def gpus(self) -> int:
        """GPUs of all nodes."""
        return self.nodes * self.gpus_per_node


def load_allocation(path: Path, given: dict[str, Any], site: Site) -> Allocation:
    """The allocation that a file describes, with overrides (None: not given), placed on a site.

    Raises SettingsError naming the file, the key and what is possible.
    """
    raw = load_yaml(path) | {key: value for key, value in given.items() if value is not None}
    wanted = checked(Wanted, raw, str(path))
    allocation = _placed(wanted, site)
    _check(allocation, path)
    return allocation


def one_pool_each(site: Site, gpus_per_node: int | None) -> list[Site]:
    """The site once for each pool that an allocation may go to; gpus_per_node: None: all."""
    has_gpus = any(pool.gpus_per_node for pool in site.pools("gpu"))
    kind: Kind = "gpu" if has_gpus and gpus_per_node != 0 else "cpu"
    return [site.model_copy(update={kind: (pool,)}) for pool in site.pools(kind)]


def _placed(wanted: Wanted, site: Site) -> Allocation:
    gpus = site.pool("gpu").gpus_per_node if wanted.gpus_per_node is None else wanted.gpus_per_node
    pool = site.pool("gpu") if gpus else site.pool("cpu")
    # Whoever has the node's other GPUs needs cores and memory, too.
    share = min(gpus / pool.gpus_per_node, 1) if gpus and pool.gpus_per_node else 1
    cpus = max(int(share * pool.max_cpus), 1) if pool.max_cpus else _CPUS
    mem_gb = share * pool.max_mem_mb / 1024 if pool.max_mem_mb else _MEM_GB
    mem_gb = wanted.mem_gb or mem_gb
    fast = mem_gb / 8 if wanted.fast_storage_gb is None else wanted.fast_storage_gb
    return Allocation(
        pool=pool,
        nodes=wanted.nodes,
        gpus_per_node=gpus,
        cpus_per_task=wanted.cpus_per_task or cpus,
        mem_gb=mem_gb,
        minutes=wanted.minutes or min(_MINUTES, pool.max_minutes or _MINUTES),
        reserve_minutes=wanted.reserve_minutes,
        fast_storage_gb=fast,
    )


def _check(allocation: Allocation, path: Path) -> None:
    pool = allocation.pool
    limits = {
        # 0 may mean that nobody has said how many there are: sbatch decides.
        "gpus_per_node": (allocation.gpus_per_node, pool.gpus_per_node or None),
        "cpus_per_task": (allocation.cpus_per_task, pool.max_cpus),
        "mem_gb": (allocation.mem_gb, pool.max_mem_mb and pool.max_mem_mb / 1024),
        "minutes": (allocation.minutes, pool.max_minutes),
    }
    for key, (asked, limit) in limits.items():
        if limit is not None and asked > limit:
            raise SettingsError(
                f"{path}: {key} {asked:g} is more than partition {pool.partition or 'default'} "
                f"allows ({limit:g})"
            )
    if allocation.reserve_minutes >= allocation.minutes:
        raise SettingsError(
            f"{path}: reserve_minutes {allocation.reserve_minutes:g} leaves nothing of "
            f"{allocation.minutes} minutes"
        )
    # What lies in /dev/shm counts towards the job's memory (docs/decisions.md#node-cache).
    if allocation.fast_storage_gb >= allocation.mem_gb:
        raise SettingsError(
            f"{path}: fast_storage_gb {allocation.fast_storage_gb:g} leaves nothing of mem_gb "
            f"{allocation.mem_gb:g}"
        )
