"""What a process has used, as it knows itself.

Snakemake measures the processes that it starts, and a stage that is a child of the resident process
is none of them.
"""

from __future__ import annotations

import resource

_BYTES_PER_UNIT = 1024  # of ru_maxrss on Linux


def process_usage() -> dict[str, float]:
    """Processor seconds and largest memory (MB) of this process and the children that ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    return {
        "process/cpu_seconds": sum(one.ru_utime + one.ru_stime for one in used),
        "process/max_rss_mb": max(one.ru_maxrss for one in used) * _BYTES_PER_UNIT / 1e6,
    }
