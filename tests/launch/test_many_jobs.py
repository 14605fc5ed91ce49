"""What a controller keeps of the jobs that have ended: nothing that grows with their number."""

import re
from pathlib import Path

import pytest

from tests.slurm.small_workflow import SmallWorkflow
from tests.support import instant_slurm

# At the end: bytes that lines of the launch room have allocated and not freed.
COUNT = """

onsuccess:
    import gc, tracemalloc
    gc.collect()
    own = tracemalloc.Filter(True, "*/prime_core/launch/*")
    kept = tracemalloc.take_snapshot().filter_traces([own]).statistics("filename")
    print("KEPT", sum(one.size for one in kept), flush=True)
"""


def kept(folder: Path, num_jobs: int) -> int:
    """Bytes that a workflow of so many jobs holds when all of them have ended."""
    work = SmallWorkflow(folder / "work", (0,), num_shards=num_jobs).write()
    snakefile = work.folder / "Snakefile"
    snakefile.write_text(snakefile.read_text() + COUNT)
    env = instant_slurm.install(folder / "slurm") | {"PYTHONTRACEMALLOC": "1"}
    running = work.start("--jobs", "50", env=env)
    assert running.wait() == 0, running.said()
    assert instant_slurm.num_submitted(folder / "slurm") == num_jobs
    found = re.search(r"KEPT (\d+)", running.said())
    assert found, running.said()
    return int(found[1])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_jobs_that_have_ended(tmp_path: Path):
    few, many = kept(tmp_path / "few", 50), kept(tmp_path / "many", 250)
    # An id may be kept of each, but not what was watched, asked for or said of it.
    assert many - few < 200 * 150, (few, many)
