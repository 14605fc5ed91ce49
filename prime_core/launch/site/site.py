"""What a cluster calls its partitions: the one small file that differs from site to site.

In: cluster_profiles/slurm/site.yaml (written by `prime site`, or by hand from site.yaml.example).
Without it, Slurm's own default partition and account are used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from prime_core.settings.reading import checked, load_yaml

SITE_FILE = Path("cluster_profiles/slurm/site.yaml")
SITE_VARIABLE = "PRIME_SITE"
Kind = Literal["cpu", "gpu", "controller"]
# Options that a pool's other keys or the workflow itself set.
_OWN = {
    *("--partition", "--account", "--qos", "--constraint", "--gres", "--gpus", "--gpus-per-node"),
    *("--mem", "--mem-per-cpu", "--time", "--nodes", "--ntasks", "--ntasks-per-node"),
    *("--cpus-per-task", "--job-name", "--output", "--error", "--comment", "--chdir", "--export"),
    *("--parsable", "--wrap", "--array", "--signal", "--requeue", "--no-requeue", "--open-mode"),
}


class Pool(BaseModel):
    """Where one kind of job goes, and how much a job may ask for there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: str | None = Field(None, description="null: Slurm's default partition.")
    account: str | None = Field(None, description="Account to charge; null: Slurm's default.")
    qos: str | None = Field(None, description="Quality of service; null: Slurm's default.")
    constraint: str | None = Field(None, description="Features that a node must have; null: none.")
    gpu_model: str | None = Field(
        None, description="Type in gres, e.g. h100 or, of a MIG device, 1g.10gb; null: any."
    )
    gpus_per_node: int = Field(0, ge=0, description="GPUs of a node; 0: none.")
    gres: str | None = Field(
        "gpu", description="What Slurm calls GPUs; null: it does not know them (whole nodes only)."
    )
    memory: Literal["node", "cpu", "none"] = Field(
        "node", description="Ask for memory by --mem, by --mem-per-cpu, or not at all."
    )
    whole_nodes: bool = Field(
        False,
        description="A job gets all processors of its nodes (select/linear, exclusive partitions).",
    )
    extra: tuple[str, ...] = Field(
        (),
        description="Other options of sbatch, e.g. [--exclusive, --reservation=x].",
    )
    max_minutes: int | None = Field(None, ge=1, description="Longest job; null: no limit.")
    max_mem_mb: int | None = Field(None, ge=1, description="Memory of a node; null: unknown.")
    max_cpus: int | None = Field(None, ge=1, description="Processors of a node; null: unknown.")

    @field_validator("extra")
    @classmethod
    def _are_options(cls, extra: tuple[str, ...]) -> tuple[str, ...]:
        for option in extra:
            if not option.startswith("--"):
                raise ValueError(f"expected options such as --nodelist=node7, got {option!r}")
            if option.partition("=")[0] in _OWN:
                raise ValueError(f"{option}: set by the workflow, which would not see this one")
        return extra

    @model_validator(mode="after")
    def _whole_nodes_memory_is_known(self) -> Self:
        if self.memory == "cpu" and self.whole_nodes and self.max_cpus is None:
            raise ValueError(
                "memory: cpu with whole_nodes needs max_cpus: Slurm multiplies by all of a node's "
                "processors"
            )
        return self

    def mem_mb_per_cpu(self, mem_mb: int, cpus: int) -> int:
        """A node's memory by processor, MB; cpus: those that the job asks for on each node."""
        if self.whole_nodes or "--exclusive" in self.extra:
            cpus = self.max_cpus or cpus
        # Rounded up, the whole memory of a node would be more than it has.
        return max(mem_mb // cpus, 1)

    def resources(self) -> dict[str, str]:
        """Snakemake's resources for a rule whose jobs go here; unset ones are left out."""
        named = {
            "slurm_partition": self.partition,
            "slurm_account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
        }
        return {key: value for key, value in named.items() if value is not None}

    def gpu_option(self, gpus: int) -> str | None:
        """sbatch's --gres for so many GPUs of each node; None where there is nothing to ask for."""
        if not (gpus and self.gres):
            return None
        return ":".join(filter(None, (self.gres, self.gpu_model, str(gpus))))


def _listed(pools: Any) -> Any:
    if isinstance(pools, list | tuple):
        return pools
    # Checked here: an error names `gpu.partition`, as the file has it, not `gpu.0.partition`.
    return (Pool.model_validate(pools),)


# Where jobs of one kind may go: a mapping in the file, or a list of them.
Pools = Annotated[tuple[Pool, ...], BeforeValidator(_listed), Field(min_length=1)]


class Site(BaseModel):
    """One cluster: where each kind of job goes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: Pools = Field((Pool(),), description="Verification and other small work.")
    gpu: Pools = Field((Pool(),), description="Sampling, scoring, training.")
    controller: Pools = Field((Pool(),), description="The workflow's own small job.")
    caches: str | None = Field(
        None, description="Folder for caches, e.g. $SCRATCH/cache; null: ~/.cache, or here."
    )
    fast_storage: str | None = Field(
        None, description="Node-local folder for weights between stages; null: /dev/shm."
    )

    def pools(self, kind: Kind) -> tuple[Pool, ...]:
        """Where jobs of this kind may go; of several, where they start first."""
        return {"cpu": self.cpu, "gpu": self.gpu, "controller": self.controller}[kind]

    def pool(self, kind: Kind) -> Pool:
        """Where jobs of this kind go, or the first of several such pools."""
        return self.pools(kind)[0]


def site_file(root: Path) -> Path:
    """The site's file: the variable PRIME_SITE, else the one in the repository."""
    return Path(os.environ.get(SITE_VARIABLE) or root / SITE_FILE)


def load_site(path: Path) -> Site:
    """The site of a file; all defaults without one. Raises SettingsError naming file and key."""
    if not path.exists():
        return Site()
    return checked(Site, load_yaml(path), str(path))
