"""Ranks of a training stage: how a rule launches them, and what each finds at startup.

One rule serves one process, several on a machine and several nodes: its resources say which. In a
Slurm job srun launches the ranks and submitit sets them up; elsewhere torchrun does both
(docs/decisions.md#starting-ranks).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from prime_core.launch.slurm.gpus import taker

# Marks the ranks that `launcher` starts under srun: in any other Slurm job a stage has one rank.
LAUNCHER = "PRIME_LAUNCHER"


def launcher(resources: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """Prefix of a stage's command: claims GPUs where it shares a node's, and launches ranks.

    Raises ValueError when ranks do not divide evenly over nodes.
    """
    nodes = int(resources.get("nodes") or 1)
    ranks = int(resources.get("tasks") or nodes * int(resources.get("tasks_per_node") or 1))
    if ranks % nodes:
        raise ValueError(f"resources: tasks {ranks} do not divide over nodes {nodes}")
    # A stage on several nodes has the allocation to itself.
    taking = taker(resources, environment) if nodes == 1 else ""
    if ranks == 1:
        return taking
    # srun would show the ranks all GPUs of the job, whichever were claimed.
    if nodes == 1 and (taking or "SLURM_JOB_ID" not in environment):
        # --standalone picks a free port: stages may train side by side. --no-python, since torchrun
        # expects a Python file and `prime` is a command.
        return f"{taking}torchrun --standalone --nproc-per-node={ranks} --no-python -- "
    cpus = max(int(resources.get("cpus_per_task") or 1), 1)
    return (
        # outside a job srun would allocate nodes itself
        f"{LAUNCHER}=srun srun --jobid=${{SLURM_JOB_ID:?several nodes need a Slurm job}} "
        # All numbers are spelled out: the plugin strips SLURM_* from the step, and a bare srun
        # there starts one rank.
        f"--nodes={nodes} --ntasks={ranks} --ntasks-per-node={ranks // nodes} "
        # without the latter, ranks wait in a collective for the one that died
        f"--cpus-per-task={cpus} --kill-on-bad-exit=1 "
        # A job submitted with --export=NONE, by hand or by a site's rule, would start bare ranks.
        "--export=ALL "
        "--overlap "  # an allocation's own step holds everything
    )


def set_up_rank() -> None:
    """Give a rank under srun what torch reads: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, ...

    Does nothing where `launcher` started no srun, or where the ranks are set up already.
    """
    if os.environ.get(LAUNCHER) != "srun" or "RANK" in os.environ:
        return
    from submitit.helpers import TorchDistributedEnvironment

    # submitit reads these; Snakemake's executor has removed them from the environment.
    os.environ["SUBMITIT_EXECUTOR"] = "slurm"
    os.environ.setdefault("SLURM_JOB_NUM_NODES", os.environ["SLURM_NNODES"])
    # Two stages may train side by side in one allocation: one port per step, not per job.
    # Computed, not drawn: ranks have to agree on it before they can talk to each other.
    job, step = int(os.environ["SLURM_JOB_ID"]), int(os.environ["SLURM_STEP_ID"])
    os.environ["MASTER_PORT"] = str(20000 + (101 * job + 7919 * step) % 40000)
    # Each rank picks its device by LOCAL_RANK, so all may see all devices of their node.
    TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
