"""The adapted executor on a Slurm whose jobs are done at once: what it says, awaits and keeps."""

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
@pytest.mark.long
def test_memory_does_not_grow_with_the_jobs_that_have_ended(tmp_path: Path):
    few, many = kept(tmp_path / "few", 50), kept(tmp_path / "many", 250)
    # An id may be kept of each, but not what was watched, asked for or said of it.
    assert many - few < 200 * 150, (few, many)


@pytest.mark.slow
def test_each_job_is_named_as_its_stage_and_seen_when_its_output_comes_late(tmp_path: Path):
    work = SmallWorkflow(tmp_path / "work", (0, 0)).write()
    env = instant_slurm.install(tmp_path / "slurm", late=12)
    running = work.start("--latency-wait", "60", env=env)
    assert running.wait() == 0, running.said()
    assert "step 1 00: Slurm job 1\n" in running.said()
    assert "step 2 00: Slurm job 2\n" in running.said()
    assert instant_slurm.num_submitted(tmp_path / "slurm") == 2, "none was submitted again"


@pytest.mark.parametrize("folder", ["of $USER", 'a "quoted" one', "a\\b", "a `b`"])
def test_a_path_that_would_change_on_its_way_is_refused_before_submission(tmp_path, folder):
    work = SmallWorkflow(tmp_path / folder, (0,)).write()
    running = work.start(env=instant_slurm.install(tmp_path / "slurm"))
    assert running.wait() == 1
    assert f"{work.folder}: a path with " in running.said()
    assert "does not reach a Slurm job unchanged; move or rename the folder" in running.said()
    assert instant_slurm.num_submitted(tmp_path / "slurm") == 0
