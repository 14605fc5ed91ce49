"""What a cluster calls its partitions: the one small file that differs from site to site.

In: cluster_profiles/slurm/site.yaml (written by `prime site`, edited by hand). Without it, Slurm's
own default partition and account are used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from prime_core.settings.reading import checked, load_yaml

SITE_FILE = Path("cluster_profiles/slurm/site.yaml")
SITE_VARIABLE = "PRIME_SITE"
Kind = Literal["cpu", "gpu", "controller"]


class Pool(BaseModel):
    """Where one kind of job goes, and how much a job may ask for there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: str | None = Field(None, description="null: Slurm's default partition.")
    account: str | None = Field(None, description="Account to charge; null: Slurm's default.")
    qos: str | None = Field(None, description="Quality of service; null: Slurm's default.")
    constraint: str | None = Field(None, description="Features that a node must have; null: none.")
    gpu_model: str | None = Field(None, description="Type in gres, e.g. h100; null: any.")
    gpus_per_node: int = Field(0, ge=0, description="GPUs of a node; 0: none.")
    max_minutes: int | None = Field(None, ge=1, description="Longest job; null: no limit.")
    max_mem_mb: int | None = Field(None, ge=1, description="Memory of a node; null: unknown.")
    max_cpus: int | None = Field(None, ge=1, description="Processors of a node; null: unknown.")

    def resources(self) -> dict[str, str]:
        """Snakemake's resources for a rule whose jobs go here; unset ones are left out."""
        named = {
            "slurm_partition": self.partition,
            "slurm_account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "gpu_model": self.gpu_model,
        }
        return {key: value for key, value in named.items() if value is not None}


class Site(BaseModel):
    """One cluster: where each kind of job goes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: Pool = Field(default_factory=Pool, description="Verification and other small work.")
    gpu: Pool = Field(default_factory=Pool, description="Sampling, scoring, training.")
    controller: Pool = Field(default_factory=Pool, description="The workflow's own small job.")
    fast_storage: str | None = Field(
        None, description="Node-local folder for weights between stages; null: /dev/shm."
    )

    def pool(self, kind: Kind) -> Pool:
        """Where jobs of this kind go."""
        return {"cpu": self.cpu, "gpu": self.gpu, "controller": self.controller}[kind]


def site_file(root: Path) -> Path:
    """The site's file: the variable PRIME_SITE, else the one in the repository."""
    return Path(os.environ.get(SITE_VARIABLE) or root / SITE_FILE)


def load_site(path: Path) -> Site:
    """The site of a file; all defaults without one. Raises SettingsError naming file and key."""
    if not path.exists():
        return Site()
    return checked(Site, load_yaml(path), str(path))
