"""Where a job goes on a site, and how it asks there: by the pool's limits, memory and options.

In: a Snakemake job, the site. Out: the job's resources as they are submitted, and options of sbatch
that the plugin does not know. Of several pools Slurm is asked where the job would start first.
docs/decisions.md#several-pools
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from prime_core.launch.site.resource_names import GPUS
from prime_core.launch.site.site import Pool, Site
from prime_core.launch.slurm import commands as slurm

T = TypeVar("T")
# Resources that a pool gives a rule (Pool.resources): by them a job's pool is found again.
_OF_A_POOL = ("slurm_partition", "slurm_account", "qos", "constraint")
# Memory of a node before it was cut, or spelled otherwise.
_NODE_MEMORY = "node_mem_mb"
_START = re.compile(r"to start at (\S+)")
# Slurm rounds, and each question takes a moment: within a minute the site's own order decides.
_SAME_START_SECONDS = 60.0


def place(job: Any, site: Site) -> None:
    """Make a job's resources those of the pool where it starts first, within the pool's limits."""
    # Tried again, or in another pool, a job asks for what it did, not for what was made of it.
    asked = job.resources.get(_NODE_MEMORY, job.resources.get("mem_mb"))
    for key, value in ((_NODE_MEMORY, asked), ("mem_mb", asked), ("mem_mb_per_cpu", None)):
        setattr(job.resources, key, value)
    pools = _candidates(job, site)
    if len(pools) > 1:
        pool = first_to_start(pools, lambda pool: _options(job, pool))
        for key in _OF_A_POOL:
            setattr(job.resources, key, pool.resources().get(key))
    for resource, most in limits(job, site).items():
        setattr(job.resources, resource, most)
    for resource, number in _memory(job, pool_of(job, site)).items():
        setattr(job.resources, resource, number)


def limits(job: Any, site: Site) -> dict[str, int]:
    """Those of a job's resources that are above its pool's limits, as these limits."""
    return _above(job, pool_of(job, site))


def partition_options(job: Any, site: Site) -> str:
    """sbatch's options for a job's partition, GPUs, and whatever else its pool names, for a shell.

    With a blank before each; "" where there are none.
    """
    pool, partition = pool_of(job, site), job.resources.get("slurm_partition")
    named = [f"--partition={partition}"] if partition else []
    return "".join(f" {shlex.quote(option)}" for option in [*named, *_others(job, pool)])


def pool_of(job: Any, site: Site) -> Pool:
    """The pool that a job goes to; one without limits where --set-resources names a partition."""
    pools = _kinds(job, site)[0] + _kinds(job, site)[1]
    asked = {key: job.resources.get(key) for key in _OF_A_POOL}
    for pool in pools:
        if pool.resources() == {key: value for key, value in asked.items() if value is not None}:
            return pool
    # A QoS from the command line, say: the partition's limits hold all the same.
    same = (pool for pool in pools if pool.partition == asked["slurm_partition"])
    return next(same, Pool())


def first_to_start(choices: Sequence[T], options: Callable[[T], Sequence[str]]) -> T:
    """Of several, the one whose job Slurm would start first: the first of those within a minute.

    options: sbatch's options of each. Where Slurm accepts none, or does not answer, the first: the
    submission itself then says why.
    """
    starts = [_start(options(one)) for one in choices]
    known = [start for start in starts if start is not None]
    if not known:
        return choices[0]
    soon = min(known) + _SAME_START_SECONDS
    return next(
        one
        for one, start in zip(choices, starts, strict=True)
        if start is not None and start <= soon
    )


def _start(options: Sequence[str]) -> float | None:
    """When Slurm would start a job, seconds since 1970; None where it would not accept it."""
    # The answer comes on standard error.
    question = ("sh", "-c", 'exec "$@" 2>&1', "sh", "sbatch", "--test-only", *options)
    try:
        found = _START.search(slurm.call(*question, "--wrap=true"))
        if found is None or _is_down(options):
            return None
        return time.mktime(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S"))
    except (slurm.SlurmError, ValueError):
        return None


def _is_down(options: Sequence[str]) -> bool:
    """Whether the partition is down: Slurm's test says "now" all the same."""
    partitions = [option for option in options if option.startswith("--partition=")]
    try:
        states = slurm.call("sinfo", "--noheader", "--format=%a", *partitions).split()
    except slurm.SlurmError:  # a site may keep it from its users
        return False
    return bool(partitions and states) and not {"up"} & {*states}


def _candidates(job: Any, site: Site) -> list[Pool]:
    """Pools that the job may go to; one where the command line has chosen, or nothing is known."""
    here = pool_of(job, site)
    pools = next((pools for pools in _kinds(job, site) if here in pools), (here,))
    return [pool for pool in pools if pool.gpus_per_node >= _gpus(job)]


def _kinds(job: Any, site: Site) -> tuple[tuple[Pool, ...], tuple[Pool, ...]]:
    """Both kinds' pools, the likelier first: they may share a partition with different limits."""
    gpu, cpu = site.pools("gpu"), site.pools("cpu")
    return (gpu, cpu) if job.resources.get(GPUS) else (cpu, gpu)


def _options(job: Any, pool: Pool) -> list[str]:
    """sbatch's options that decide when a job would start in a pool."""
    asked = dict(job.resources.items()) | _above(job, pool)
    ranks = _ranks(job)
    named: dict[str, Any] = {
        "partition": pool.partition,
        "account": pool.account,
        "qos": pool.qos,
        "constraint": pool.constraint,
        "time": asked.get("runtime"),
        "nodes": _nodes(job),
        "ntasks": ranks,
        "cpus-per-task": asked.get("cpus_per_task"),
    }
    memory = asked | _memory(job, pool)
    if memory.get("mem_mb_per_cpu"):
        named["mem-per-cpu"] = memory["mem_mb_per_cpu"]
    elif memory.get("mem_mb"):
        named["mem"] = memory["mem_mb"]
    known = [f"--{key}={value}" for key, value in named.items() if value is not None]
    return [*known, *_others(job, pool)]


def _others(job: Any, pool: Pool) -> list[str]:
    gres = pool.gpu_option(_gpus(job))
    # A gres from the command line is passed by the plugin.
    ours = [f"--gres={gres}"] if gres and not job.resources.get("gres") else []
    return [*ours, *pool.extra]


def _above(job: Any, pool: Pool) -> dict[str, int]:
    most = {"mem_mb": pool.max_mem_mb, "runtime": pool.max_minutes}
    wishes = {resource: job.resources.get(resource) for resource in most}
    return {
        resource: limit
        for resource, limit in most.items()
        if limit is not None and isinstance(wishes[resource], int) and wishes[resource] > limit
    }


def _memory(job: Any, pool: Pool) -> dict[str, int]:
    """A node's memory in the form that the pool's partition accepts."""
    mem_mb = (dict(job.resources.items()) | _above(job, pool)).get("mem_mb")
    if pool.memory == "node" or not isinstance(mem_mb, int) or not mem_mb:
        return {}
    if pool.memory == "none":
        return {"mem_mb": 0}
    processors = max(_ranks(job) // _nodes(job), 1) * max(_number(job, "cpus_per_task"), 1)
    return {"mem_mb": 0, "mem_mb_per_cpu": pool.mem_mb_per_cpu(mem_mb, processors)}


def _gpus(job: Any) -> int:
    """GPUs of each node."""
    return _number(job, GPUS) // _nodes(job)


def _nodes(job: Any) -> int:
    return max(_number(job, "nodes"), 1)


def _ranks(job: Any) -> int:
    return _nodes(job) * _number(job, "tasks_per_node") or max(_number(job, "tasks"), 1)


def _number(job: Any, resource: str) -> int:
    value = job.resources.get(resource)
    return value if isinstance(value, int) else 0
