"""Which of a stage's processes this is: one rank of several, or the only one.

A launcher (torchrun, srun by way of prime_core.launch.slurm.ranks) says so in the environment.
"""

from __future__ import annotations

import os


def rank() -> int:
    """This process's number among the ranks; 0 without a launcher."""
    return int(os.environ.get("RANK", "0"))


def is_first_rank() -> bool:
    """Whether it is the one that prints, locks and writes for all of them."""
    return rank() == 0


def has_other_ranks() -> bool:
    """Whether the launcher started more than one."""
    return os.environ.get("WORLD_SIZE", "1") != "1"
