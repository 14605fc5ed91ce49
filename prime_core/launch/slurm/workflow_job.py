"""One Slurm job for the workflow itself, submitted by submitit.

In: the job's resources, and the call it makes. Out: its id; its log and submitit's files are in the
run's slurm/controller folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prime_core.launch.site.site import Pool
from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm import refusals
from prime_core.launch.slurm.commands import SlurmError

# submitit counts requeues at the time limit, and gives up after this many.
NO_END = 100_000


@dataclass(frozen=True)
class WorkflowJob:
    """What to ask Slurm for.

    cpus, mem_gb, gpus: of each node; signal_seconds: how long before its time limit the job is
    signalled (USR2).
    """

    name: str
    pool: Pool
    minutes: int
    nodes: int
    cpus: int
    mem_gb: float
    gpus: int
    signal_seconds: int
    folder: Path

    def options(self) -> dict[str, Any]:
        """sbatch's options."""
        named: dict[str, Any] = {
            "job-name": self.name,
            "partition": self.pool.partition,
            "account": self.pool.account,
            "qos": self.pool.qos,
            "constraint": self.pool.constraint,
            "nodes": self.nodes,
            "ntasks-per-node": 1,
            "cpus-per-task": self.cpus,
            **self._memory(),
            "gres": self.pool.gpu_option(self.gpus),
            "time": self.minutes,
            "signal": f"USR2@{self.signal_seconds}",
            # Slurm requeues the job of a node that dies.
            "requeue": True,
            # Each start would otherwise truncate the log of those before it.
            "open-mode": "append",
            **dict(map(_option, self.pool.extra)),
        }
        return {key: value for key, value in named.items() if value is not None}

    def _memory(self) -> dict[str, str]:
        mem_mb = round(self.mem_gb * 1024)
        if self.pool.memory == "none":
            return {}
        if self.pool.memory == "cpu":
            return {"mem-per-cpu": f"{self.pool.mem_mb_per_cpu(mem_mb, self.cpus)}M"}
        return {"mem": f"{mem_mb}M"}


def as_words(options: Mapping[str, Any]) -> list[str]:
    """sbatch's options as it takes them."""
    return [f"--{key}" if value is True else f"--{key}={value}" for key, value in options.items()]


def log_of(folder: Path, job_id: str) -> Path:
    """Log of a controller's job, across its requeues."""
    # submitit's name for the log of task 0, the only one.
    return folder / f"{job_id}_0_log.out"


def submit(job: WorkflowJob, call: Callable[[], Any], pool: str) -> str:
    """Submit the job, which will make this call on its first node; returns its id.

    pool: its name in site.yaml. Raises SlurmError with sbatch's message, and where to mend it.
    """
    import submitit

    options = job.options()
    with _clean_environment():
        executor = submitit.AutoExecutor(
            folder=job.folder, cluster="slurm", slurm_max_num_timeout=NO_END
        )
        executor.update_parameters(
            name=options.pop("job-name"),
            timeout_min=options.pop("time"),
            nodes=options.pop("nodes"),
            tasks_per_node=options.pop("ntasks-per-node"),
            cpus_per_task=options.pop("cpus-per-task"),
            stderr_to_stdout=True,
            slurm_signal_delay_s=job.signal_seconds,
            # The steps that the job starts itself share its resources with this one.
            # And only the first node runs the workflow, of however many the job has.
            slurm_srun_args=["--nodes=1", "--ntasks=1", "--overlap", "--open-mode=append"],
            # submitit derives --signal from slurm_signal_delay_s.
            slurm_additional_parameters={k: v for k, v in options.items() if k != "signal"},
        )
        try:
            return str(executor.submit(call).job_id)
        except (submitit.core.utils.FailedJobError, FileNotFoundError) as error:
            raise SlurmError(f"sbatch: {refusals.read(str(error)).explained(pool)}") from None


def _option(word: str) -> tuple[str, str | bool]:
    """A site's own option as key and value; True for one without a value."""
    key, _, value = word.removeprefix("--").partition("=")
    return key, value or True


@contextmanager
def _clean_environment() -> Iterator[None]:
    """Submit as if from outside any job: sbatch passes its environment on."""
    before = dict(os.environ)
    clean = slurm.clean_environment()
    for key in before.keys() - clean.keys():
        del os.environ[key]
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
