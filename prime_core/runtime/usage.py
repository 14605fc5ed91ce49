"""What a process has used, as it knows itself.

Snakemake measures the processes that it starts, and a stage that is a child of the resident process
is none of them.
"""

from __future__ import annotations

import resource
import time

from prime_core.runtime.gpu_usage import gpu_figures

_BYTES_PER_UNIT = 1024  # of ru_maxrss on Linux


def process_usage() -> dict[str, float | str]:
    """Processor seconds and largest memory (MB) of this process and the children that ended.

    Also the use of the GPUs that it sees, and the time, in seconds since 1970: copies of a file
    have other dates than the file.
    """
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    return {
        "process/cpu_seconds": sum(one.ru_utime + one.ru_stime for one in used),
        "process/max_rss_mb": max(one.ru_maxrss for one in used) * _BYTES_PER_UNIT / 1e6,
        "process/ended_at": time.time(),
        **gpu_figures(),
    }
