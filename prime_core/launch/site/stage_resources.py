"""What a stage asks for, as Snakemake's resources: its table, placed on a site.

In: cluster_profiles/stages.yaml (or the file that the settings name by `stage_resources`) and the
site's names. Out: the resources of each rule. The executor for Slurm turns them into options of
sbatch; the local one counts cores and GPUs. Why not in the profile: docs/decisions.md#stages-table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from prime_core.launch.site.resource_names import GPUS
from prime_core.launch.site.site import Site
from prime_core.run.stages import STAGES
from prime_core.settings.reading import SettingsError, checked, load_yaml
from prime_core.settings.run import Settings

JUDGING = ("verify", "step_values")  # stages that judge and sample nothing


class StageNeeds(BaseModel):
    """One row of the table: what a job of the stage asks for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pool: Literal["cpu", "gpu"]
    mem_mb: int = Field(ge=1, description="Memory a node.")
    runtime: int = Field(ge=1, description="Minutes.")
    cpus_per_task: int = Field(1, ge=1, description="Processors a rank.")
    gpus_per_node: int = Field(0, ge=0)
    nodes: int = Field(1, ge=1)
    tasks_per_node: int | None = Field(None, ge=1, description="Ranks; null: one a GPU.")


def load_stages(path: Path) -> dict[str, StageNeeds]:
    """What each stage asks for, by name. Raises SettingsError naming file and key."""
    if not path.is_file():
        raise SettingsError(f"{path}: no such file (stage_resources)")
    table = checked(dict[str, StageNeeds], load_yaml(path), str(path))
    for name, needs in table.items():
        _check(path, name, needs)
    return {name: _row(path, table, name) for name in STAGES}


def needs_of_run(needs: Mapping[str, StageNeeds], settings: Settings) -> dict[str, StageNeeds]:
    """The table for a run: what judges by a model (verification.judge.path) samples, too.

    Its row then has what sampling asks for, unless the table itself gives it GPUs.
    """
    found, sample = dict(needs), needs["sample"]
    for stage in JUDGING if settings.verification.judges_by_model else ():
        judging = needs[stage]
        if judging.pool == "cpu":
            # Rules of the same run still judge on their cores, in their memory.
            both = {
                "cpus_per_task": max(judging.cpus_per_task, sample.cpus_per_task),
                "mem_mb": judging.mem_mb + sample.mem_mb,
                "runtime": judging.runtime + sample.runtime,
            }
            found[stage] = sample.model_copy(update=both)
    return found


def stage_resources(stage: str, needs: StageNeeds, site: Site) -> dict[str, Any]:
    """Resources of a stage's rule, in the first pool that has them.

    Raises SettingsError for more GPUs than a node of any pool has.
    """
    pools = site.pools(needs.pool)
    most = max(pool.gpus_per_node for pool in pools)
    # Without GPUs, or before `prime site`, all stages run on CPUs (docs/decisions.md#no-gpus).
    gpus = needs.gpus_per_node if most else 0
    pool = next((pool for pool in pools if pool.gpus_per_node >= gpus), None)
    if pool is None:
        raise SettingsError(
            f"stage_resources: {stage}.gpus_per_node {gpus}, but the site's nodes have "
            f"{most} (site.yaml: {needs.pool}.gpus_per_node)"
        )
    resources = pool.resources() | {
        "mem_mb": growing(needs.mem_mb),
        "runtime": growing(needs.runtime),
        "cpus_per_task": min(needs.cpus_per_task, pool.max_cpus or needs.cpus_per_task),
    }
    if gpus:
        resources[GPUS] = gpus * needs.nodes
    if STAGES[stage].ranks:
        resources |= _ranks(needs, gpus)
    return resources


def growing(first: int) -> Callable[..., int]:
    """A resource that grows with each attempt of a failed job; the executor caps it per site."""

    # Snakemake calls it with these names, `wildcards` among them.
    def value(wildcards: Any, attempt: int) -> int:  # noqa: ARG001
        return first * attempt

    return value


def _ranks(needs: StageNeeds, gpus: int) -> dict[str, Any]:
    ranks_a_node = needs.tasks_per_node or max(gpus, 1)
    if needs.nodes * ranks_a_node == 1:
        return {}
    # The plugin expects `tasks` where a node has one rank, else `tasks_per_node`.
    key, value = ("tasks", needs.nodes) if ranks_a_node == 1 else ("tasks_per_node", ranks_a_node)
    return {"mpi": "srun", key: value, "nodes": needs.nodes}


def _row(path: Path, table: Mapping[str, StageNeeds], name: str) -> StageNeeds:
    """A stage's own row, else that of the stage that it is like: a site's table may predate it."""
    if name in table:
        return table[name]
    if not STAGES[name].like:
        raise SettingsError(
            f"{path}: the stage '{name}' is missing; cluster_profiles/stages.yaml has a row to "
            "start from"
        )
    return _row(path, table, STAGES[name].like)


def _check(path: Path, name: str, needs: StageNeeds) -> None:
    if name not in STAGES:
        raise SettingsError(f"{path}: {name}: no such stage; expected one of {', '.join(STAGES)}")
    several = needs.nodes > 1 or (needs.tasks_per_node or 1) > 1
    if several and not STAGES[name].ranks:
        with_ranks = ", ".join(name for name, kind in STAGES.items() if kind.ranks)
        raise SettingsError(
            f"{path}: {name}: only {with_ranks} can have several ranks; split it into shards "
            "(rollout.num_shards) instead"
        )
