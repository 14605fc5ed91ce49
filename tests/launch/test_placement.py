"""Where a job goes on a site and how it asks there: limits, GPUs, memory, several pools."""

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.iocontainers import ResourceList

from prime_core.launch.site.site import Pool, Site
from prime_core.launch.slurm import placement

SITE = Site(
    cpu=Pool(partition="small", max_mem_mb=4000, max_minutes=60),
    gpu=Pool(partition="big", max_mem_mb=9000),
)


def job(**resources: Any) -> Any:
    """A job that asks for something."""
    return SimpleNamespace(resources=ResourceList(fromdict=resources))


def options(pool: Pool, **resources: Any) -> list[str]:
    """What a job asks of sbatch beside what the plugin does."""
    asked = job(**{**pool.resources(), **resources})
    return shlex.split(placement.partition_options(asked, Site(gpu=pool)))


def test_wishes_are_cut_to_what_the_partition_gives():
    asked = job(slurm_partition="small", mem_mb=8000, runtime=90)
    placement.place(asked, SITE)
    assert (asked.resources.get("mem_mb"), asked.resources.get("runtime")) == (4000, 60)
    asked = job(slurm_partition="big", mem_mb=8000, runtime=90)
    placement.place(asked, SITE)
    assert (asked.resources.get("mem_mb"), asked.resources.get("runtime")) == (8000, 90)
    asked = job(slurm_partition="elsewhere", mem_mb=10**6)
    placement.place(asked, SITE)
    assert asked.resources.get("mem_mb") == 10**6


def test_where_both_kinds_share_a_partition_gpus_tell_them_apart():
    site = Site(cpu=Pool(max_mem_mb=10), gpu=Pool(max_mem_mb=20))
    wishes = [job(mem_mb=99), job(mem_mb=99, gpu_count=1)]
    for wish in wishes:
        placement.place(wish, site)
    assert [wish.resources.get("mem_mb") for wish in wishes] == [10, 20]


@pytest.mark.parametrize(
    ("pool", "nodes", "gres"),
    [
        (Pool(gpus_per_node=4), 1, "--gres=gpu:2"),
        (Pool(gpus_per_node=4, gpu_model="h100"), 2, "--gres=gpu:h100:1"),
        # The plugin's own resource refuses types with a dash, which NVML gives them.
        (Pool(gpus_per_node=4, gpu_model="nvidia_a100-sxm4-80gb"), 1, None),
        (Pool(gpus_per_node=7, gpu_model="1g.10gb"), 1, "--gres=gpu:1g.10gb:2"),
        (Pool(gpus_per_node=8, gres="shard"), 1, "--gres=shard:2"),
    ],
)
def test_gpus_of_each_node_are_asked_for_by_gres(pool, nodes, gres):
    assert options(pool, gpu_count=2, nodes=nodes) == [gres or "--gres=gpu:nvidia_a100-sxm4-80gb:2"]


def test_gpus_that_slurm_does_not_know_are_not_asked_for():
    whole = Pool(partition="fat", gpus_per_node=4, gres=None, extra=["--exclusive"])
    assert options(whole, gpu_count=4) == ["--partition=fat", "--exclusive"]


def test_a_sites_own_options_reach_sbatch_whatever_they_hold():
    pool = Pool(partition="batch", extra=["--reservation=our course", "--exclude=node7"])
    assert options(pool) == ["--partition=batch", "--reservation=our course", "--exclude=node7"]
    # A partition of the command line is another place, to which they may not apply.
    asked = job(slurm_partition="debug")
    assert placement.partition_options(asked, Site(cpu=pool)) == " --partition=debug"


@pytest.mark.parametrize(
    ("pool", "ranks", "asked"),
    [
        (Pool(), {}, (8001, None)),
        (Pool(memory="none"), {}, (0, None)),
        # Rounded up, all of a node's memory would be more than the node has.
        (Pool(memory="cpu"), {"cpus_per_task": 2}, (0, 4000)),
        (Pool(memory="cpu"), {"cpus_per_task": 2, "tasks_per_node": 2, "nodes": 3}, (0, 2000)),
        (Pool(memory="cpu"), {"tasks": 3, "nodes": 3}, (0, 8001)),
        (Pool(memory="cpu", max_mem_mb=4000), {"cpus_per_task": 2}, (0, 2000)),
        # Slurm multiplies by the processors that a job gets: here all of the node's.
        (Pool(memory="cpu", whole_nodes=True, max_cpus=8), {"cpus_per_task": 2}, (0, 1000)),
        (Pool(memory="cpu", extra=["--exclusive"], max_cpus=8), {}, (0, 1000)),
        (Pool(memory="cpu", extra=["--exclusive"]), {"cpus_per_task": 2}, (0, 4000)),
    ],
)
def test_memory_is_asked_for_as_the_site_wants_it(pool, ranks, asked):
    one = job(mem_mb=8001, **ranks)
    placement.place(one, Site(cpu=pool))
    assert (one.resources.get("mem_mb"), one.resources.get("mem_mb_per_cpu")) == asked


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of answers of `sbatch --test-only` by partition; none: refused."""
    program = tmp_path / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n'
        "for word; do case $word in --partition=*) name=${word#--partition=};; esac; done\n"
        f"cat {tmp_path}/$name >&2\n"
    )
    program.chmod(0o755)
    states = program.with_name("sinfo")
    states.write_text(
        f"#!/bin/sh\nfor word; do name=${{word#--partition=}}; done\n"
        f"cat {tmp_path}/$name.state 2>/dev/null || echo up\n"
    )
    states.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return tmp_path


def answer(folder: Path, partition: str, when: str) -> None:
    (folder / partition).write_text(
        f"sbatch: Job 7 to start at {when} using 2 processors on nodes n1 in partition x\n"
    )


SEVERAL = Site(
    gpu=[
        Pool(partition="a", account="mine", gpu_model="a100", gpus_per_node=4, max_mem_mb=5000),
        Pool(partition="h", qos="long", gpu_model="h100", gpus_per_node=8, memory="none"),
    ]
)


def placed(**resources: Any) -> Any:
    first = SEVERAL.pool("gpu").resources()
    one = job(**{"mem_mb": 9000, "runtime": 60, "gpu_count": 1, **first, **resources})
    placement.place(one, SEVERAL)
    return one


def test_of_several_pools_a_job_goes_where_it_starts_first(starts: Path):
    answer(starts, "a", "2026-11-30T20:00:00")
    answer(starts, "h", "2026-11-30T18:00:00")
    there = placed()
    assert shlex.split(placement.partition_options(there, SEVERAL)) == [
        *("--partition=h", "--gres=gpu:h100:1")
    ]
    assert there.resources.get("slurm_account") is None
    assert (there.resources.get("qos"), there.resources.get("mem_mb")) == ("long", 0)
    asked = (starts / "asked").read_text().splitlines()
    assert "--account=mine" in asked[0]
    assert "--mem=5000" in asked[0], "within that pool's limits"
    assert "--gres=gpu:h100:1" in asked[1]
    assert "--mem" not in asked[1]


def test_the_sites_order_decides_where_both_start_at_once_or_nobody_knows(starts: Path):
    assert placed().resources.get("slurm_partition") == "a", "Slurm accepts neither"
    answer(starts, "h", "2026-11-30T20:00:00")
    assert placed().resources.get("slurm_partition") == "h", "only this one would take it"
    answer(starts, "a", "2026-11-30T20:00:30")
    assert placed().resources.get("slurm_partition") == "a"
    (starts / "a.state").write_text("down\n")
    assert placed().resources.get("slurm_partition") == "h", "a partition that is down"


def test_a_job_that_is_tried_again_asks_for_the_same_memory_elsewhere(starts: Path):
    answer(starts, "h", "2026-11-30T18:00:00")
    there = placed()
    assert there.resources.get("mem_mb") == 0
    (starts / "h").unlink()
    answer(starts, "a", "2026-11-30T18:00:00")
    placement.place(there, SEVERAL)
    assert there.resources.get("slurm_partition") == "a"
    assert there.resources.get("mem_mb") == 5000
    assert there.resources.get("slurm_account") == "mine"


def test_a_job_that_fits_one_pool_alone_or_was_placed_by_hand_is_not_asked_about(starts: Path):
    six = placed(gpu_count=6, slurm_partition="h", slurm_account=None, qos="long")
    assert six.resources.get("slurm_partition") == "h"
    elsewhere = placed(slurm_partition="debug")
    assert elsewhere.resources.get("slurm_partition") == "debug"
    assert not (starts / "asked").exists()
