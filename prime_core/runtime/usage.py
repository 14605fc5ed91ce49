"""What a process has used, as it knows itself.

Snakemake measures the processes that it starts, and a stage that is a child of the resident process
is none of them.
"""

from __future__ import annotations

import contextlib
import resource
import time
from pathlib import Path

from prime_core.runtime.gpu_usage import gpu_figures

_BYTES_PER_UNIT = 1024  # of ru_maxrss on Linux
_KINDS = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
_seconds_before = [0.0]


def process_usage() -> dict[str, float | str]:
    """Processor seconds and largest memory (MB) of this process and the children that ended.

    Also the use of the GPUs that it sees, and the time, in seconds since 1970: copies of a file
    have other dates than the file.
    """
    used = [resource.getrusage(kind) for kind in _KINDS]
    return {
        "process/cpu_seconds": _seconds(used) - _seconds_before[0],
        "process/max_rss_mb": max(one.ru_maxrss for one in used) * _BYTES_PER_UNIT / 1e6,
        "process/ended_at": time.time(),
        **gpu_figures(),
    }


def begin_usage() -> None:
    """Count from here on: this process has run other stages before."""
    _seconds_before[0] = _seconds([resource.getrusage(kind) for kind in _KINDS])
    with contextlib.suppress(OSError):  # else the largest memory is that of all its stages
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _seconds(used: list[resource.struct_rusage]) -> float:
    return sum(one.ru_utime + one.ru_stime for one in used)
