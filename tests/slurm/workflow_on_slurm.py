"""The small workflow (tests/support/workflow_runs.py) as Slurm jobs, by the project's profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.support.shared_data import ROOT
from tests.support.workflow_runs import TINY, command

ONE_ITERATION: dict[str, Any] = TINY | {
    "iterations": 1,
    "rollout": TINY["rollout"] | {"num_shards": 1},
}
# A stage long enough to be interrupted, and nothing after it.
LONG_SFT: dict[str, Any] = TINY | {"iterations": 0, "sft": TINY["sft"] | {"num_steps": 12000}}

SITE: dict[str, Any] = {
    "cpu": {"partition": "cpu", "account": "prime", "max_mem_mb": 16000},
    "gpu": {
        "partition": "gpu",
        "account": "prime",
        "gpu_model": "h100",
        "gpus_per_node": 4,
        "max_mem_mb": 16000,
    },
    "controller": {"partition": "cpu", "account": "prime"},
}


def write_site(folder: Path, **changes: dict[str, Any]) -> dict[str, str]:
    """Write the lab's names into a folder; returns the variable that points there.

    changes: keys of single pools, such as gpu={"partition": "preempt"}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    site: dict[str, Any] = {pool: names | changes.get(pool, {}) for pool, names in SITE.items()}
    # Not /dev/shm: jobs of two labs on one machine may have one number.
    site["fast_storage"] = str(folder / "fast")
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(site))
    return {"PRIME_SITE": str(path)}


def write_stages(folder: Path, changes: dict[str, dict[str, Any]]) -> str:
    """Write the table of stages with some numbers changed; returns its path."""
    table = yaml.safe_load((ROOT / "cluster_profiles" / "stages.yaml").read_text())
    for stage, numbers in changes.items():
        table[stage] |= numbers
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "stages.yaml"
    path.write_text(yaml.safe_dump(table))
    return str(path)


def slurm_command(
    folder: Path,
    settings: dict[str, Any],
    *options: str,
    stages: dict[str, dict[str, Any]] | None = None,
) -> list[str]:
    """The Snakemake command that runs settings in a folder, each stage a Slurm job."""
    table = {"stage_resources": write_stages(folder, stages or {})}
    profile = ("--profile", str(ROOT / "slurm"), "--latency-wait", "10")
    return command(folder, *profile, *options, settings=settings | table)
