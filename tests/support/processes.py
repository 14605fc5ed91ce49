"""Processes that a test started or whose parents it ended."""

import contextlib

import psutil


def is_at_work(process: psutil.Process) -> bool:
    """Whether it runs; a dead one stays a zombie where nobody asks for its status."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False
