"""How many processor cores this process may use."""

from __future__ import annotations

import os


def num_cores() -> int:
    """Cores that this process may use: those of its job, not of the node.

    A cluster without cgroups lets a job see all cores of its node: there Slurm's number holds.
    """
    seen = len(os.sched_getaffinity(0))
    return min(seen, int(os.environ.get("SLURM_CPUS_PER_TASK", seen)))
