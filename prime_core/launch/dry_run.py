"""What a dry run would run: a table of the jobs as Snakemake has planned them.

In: the jobs of its graph, after settings, profile and --set-resources. Out: lines of text, a row
for each stage and each different demand. docs/decisions.md#dry-run-table
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from typing import Any

from prime_core.launch.site.resource_names import GPUS
from prime_core.launch.site.site import Site
from prime_core.launch.slurm.placement import limits
from prime_core.launch.slurm.submission import stage_name
from prime_core.run.stages import STAGES
from prime_core.runtime.text import bytes_text, table

ON_SLURM = ("partition", "account")


@dataclass(frozen=True)
class Demand:
    """What one job of a stage asks for, of all its nodes together. mem_mb: per node.

    partition, account: "" for Slurm's default.
    """

    stage: str
    partition: str
    account: str
    nodes: int
    gpus: int
    processors: int
    mem_mb: int
    minutes: int


def demand_of(job: Any, site: Site | None) -> Demand:
    """What a job of Snakemake's asks for, capped as it is when it is submitted to a site."""
    asked = dict(job.resources.items()) | (limits(job, site) if site else {})

    def number(name: str, otherwise: int = 0) -> int:
        # Snakemake has placeholders where a value is known at submission only.
        value = asked.get(name)
        return value if isinstance(value, int) else otherwise

    nodes = max(number("nodes", 1), 1)
    ranks = nodes * number("tasks_per_node") or number("tasks", 1)
    return Demand(
        stage=stage_name(job),
        partition=str(asked.get("slurm_partition") or ""),
        account=str(asked.get("slurm_account") or ""),
        nodes=nodes,
        gpus=number(GPUS),
        processors=max(ranks * number("cpus_per_task", 1), job.threads),
        mem_mb=number("mem_mb"),
        minutes=number("runtime"),
    )


def lines(jobs: Iterable[Any], site: Site | None) -> Iterator[str]:
    """The table, and how many hours its jobs may take at most; nothing without jobs.

    site: where each job is submitted; None: nowhere, and partitions and accounts mean nothing.
    """
    on_slurm = site is not None
    # The target rule has no command: it is no job to anybody but Snakemake.
    counts = Counter(demand_of(job, site) for job in jobs if not job.is_norun)
    if not counts:
        return
    order = list(STAGES)
    demands = sorted(counts, key=lambda one: (*_place(one.stage, order), astuple(one)))
    head = ["stage", "jobs", *(ON_SLURM if on_slurm else ())]
    rows = [[*head, "GPUs", "processors", "memory", "minutes"]]
    rows += [_row(one, counts[one], on_slurm) for one in demands]
    rows.append(["total", str(counts.total()), *[""] * (len(rows[0]) - 2)])
    yield from table(rows, "<><<>" if on_slurm else "<>", indent="")
    gpu, core = (
        sum(number * getattr(one, unit) * one.minutes for one, number in counts.items()) / 60
        for unit in ("gpus", "processors")
    )
    hours = [f"{gpu:,.0f} GPU-hours"] * (gpu > 0) + [f"{core:,.0f} processor-hours"]
    yield (
        f"At most {' and '.join(hours)}: minutes are the jobs' limits, not estimates, which "
        "`prime plan` has."
    )


def _place(stage: str, order: list[str]) -> tuple[int, str]:
    return (order.index(stage), "") if stage in order else (len(order), stage)


def _row(one: Demand, number: int, on_slurm: bool) -> list[str]:
    where = [one.partition or "default", one.account or "default"] if on_slurm else []
    several = f"{one.nodes} x " if one.nodes > 1 else ""
    return [
        one.stage,
        str(number),
        *where,
        f"{several}{one.gpus // one.nodes}" if one.gpus else "-",
        f"{several}{one.processors // one.nodes}",
        several + bytes_text(one.mem_mb * 1e6) if one.mem_mb else "-",
        str(one.minutes) if one.minutes else "-",
    ]
