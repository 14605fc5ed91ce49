"""Several ranks of a training stage: how a rule starts them, and what each finds on its start.

One rule serves one process, several on a machine and several nodes: its resources say which. In a
Slurm job srun starts the ranks and submitit sets them up; elsewhere torchrun does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from prime_core.launch.slurm.gpus import taker

# Set for what `launcher` starts under srun: a stage inside some other Slurm job has one rank.
LAUNCHER = "PRIME_LAUNCHER"


def launcher(resources: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """What a stage's command begins with: taking GPUs where it shares a node's, starting ranks.

    Raises ValueError when ranks do not divide over nodes.
    """
    nodes = int(resources.get("nodes") or 1)
    ranks = int(resources.get("tasks") or nodes * int(resources.get("tasks_per_node") or 1))
    if ranks % nodes:
        raise ValueError(f"resources: tasks {ranks} do not divide over nodes {nodes}")
    taking = taker(resources, environment) if nodes == 1 else ""
    if ranks == 1:
        return taking
    # srun would show the ranks all GPUs of the job
    if nodes == 1 and (taking or "SLURM_JOB_ID" not in environment):
        return f"{taking}torchrun --standalone --nproc-per-node={ranks} --no-python -- "
    cpus = max(int(resources.get("cpus_per_task") or 1), 1)
    return (
        # outside of a job srun would ask for nodes of its own
        f"{LAUNCHER}=srun srun --jobid=${{SLURM_JOB_ID:?several nodes need a Slurm job}} "
        f"--nodes={nodes} --ntasks={ranks} --ntasks-per-node={ranks // nodes} "
        f"--cpus-per-task={cpus} --kill-on-bad-exit=1 "
        "--overlap "  # an allocation's own step holds everything
    )


def set_up_rank() -> None:
    """Give a rank under srun what torch reads: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, ...

    Does nothing where `launcher` started no srun, or where the ranks are set up already.
    """
    if os.environ.get(LAUNCHER) != "srun" or "RANK" in os.environ:
        return
    from submitit.helpers import TorchDistributedEnvironment

    # What submitit reads; the executor of Snakemake's jobs has taken these out.
    os.environ["SUBMITIT_EXECUTOR"] = "slurm"
    os.environ.setdefault("SLURM_JOB_NUM_NODES", os.environ["SLURM_NNODES"])
    # Two stages may train side by side in one allocation: a port a step, not a job.
    job, step = int(os.environ["SLURM_JOB_ID"]), int(os.environ["SLURM_STEP_ID"])
    os.environ["MASTER_PORT"] = str(20000 + (101 * job + 7919 * step) % 40000)
    # Each rank takes its device by LOCAL_RANK; all see all devices of their node.
    TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
