"""`prime site`: query Slurm, choose, show what was found and chosen, write site.yaml.

In: Slurm's answers, cluster_profiles/stages.yaml, the user's choices. Out: a table on the terminal
and cluster_profiles/slurm/site.yaml, each key with its meaning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from prime_core.launch.site.site import SITE_FILE, Pool, Site, site_file
from prime_core.launch.site.stage_resources import load_stages
from prime_core.launch.survey import cluster as slurm_cluster
from prime_core.launch.survey.choice import Choice, Wanted, choose
from prime_core.launch.survey.cluster import Cluster, Partition, gpus_text
from prime_core.run.atomic import write_text
from prime_core.runtime.text import duration, table
from prime_core.settings.reading import SettingsError

STAGES_FILE = Path("cluster_profiles/stages.yaml")
EXAMPLE = SITE_FILE.with_name("site.yaml.example")
# Keys that a run does better with: without them Slurm's defaults hold, and nothing is capped.
_TO_FILL = ("partition", "account", "gpus_per_node", "max_minutes", "max_mem_mb", "max_cpus")
HEAD = """\
# The partitions of this cluster, and what they allow. Written by `prime site`: edit it, or write it
# again with `prime site --force`. A key left out has its default. Several pools of one kind are a
# list: a job goes where Slurm would start it first.
"""

_OFFERED = ["partition", "nodes", "CPUs", "memory", "GPUs per node", "longest job", ""]
_CHOSEN = ["chosen for", "partition", "account", "because"]


def survey(wanted: Wanted, out: Path | None, dry_run: bool, force: bool) -> None:
    """Show what Slurm offers and write the site's file, or with dry_run only show both.

    What a site keeps from its users is left open, and named.

    Raises SlurmError when Slurm is not installed or does not answer; SettingsError for an unknown
    partition or account, for a file that exists (without force), or outside the repository.
    """
    root = Path.cwd()
    path = out or site_file(root)
    if out is None and not (root / SITE_FILE).parent.is_dir():
        raise SettingsError(f"{SITE_FILE}: run this in the repository's folder, or use --out")
    if path.exists() and not (force or dry_run):
        raise SettingsError(f"{path}: exists; --force overwrites it, --dry-run only shows")
    found = slurm_cluster.ask()
    stages = root / STAGES_FILE
    choice = choose(found, load_stages(stages) if stages.exists() else {}, wanted)
    print(described(found, choice))
    text = as_yaml(choice.site)
    if dry_run:
        print(f"\n{path} would be:\n\n{text}", end="")
        return
    write_text(path, text)
    print("\n".join(["", f"Wrote {path}.", *left_to_fill(found, choice.site)]))


def left_to_fill(cluster: Cluster, site: Site) -> Iterator[str]:
    """What Slurm did not tell this user, and the keys that the user can fill in instead."""
    if not cluster.closed:
        return
    yield "Slurm does not show everything to you:"
    yield from (f"  {what}: {why}" for what, why in cluster.closed.items())
    empty = [
        f"{kind}.{key}"
        for kind in ("cpu", "gpu", "controller")
        for key in _TO_FILL
        if not getattr(site.pool(kind), key) and (key != "gpus_per_node" or kind == "gpu")
    ]
    yield f"Left for you to fill in: {', '.join(empty)}."
    yield (
        f"{EXAMPLE} explains each key; your site's documentation, or `scontrol show partition` on "
        "a machine that may ask, has the values."
    )


def described(cluster: Cluster, choice: Choice) -> str:
    """What was found and what was chosen, as text."""
    memory = f"{cluster.min_job_age} s" if cluster.min_job_age else "ever"
    lines = [
        f"Slurm {cluster.version}, cluster {cluster.name}, user {cluster.user}; "
        f"ended jobs are remembered for {memory}",
        f"accounts: {', '.join(cluster.accounts) or 'none'}",
        "",
        *_offered(cluster),
        *table([_CHOSEN, *_chosen(choice)], "<", indent=""),
        *(f"warning: {warning}" for warning in choice.warnings),
    ]
    return "\n".join(lines)


def _offered(cluster: Cluster) -> Iterator[str]:
    if cluster.partitions:
        rows = [_OFFERED, *(_row(partition) for partition in cluster.partitions)]
        yield from [*table(rows, "<", indent=""), ""]


def as_yaml(site: Site) -> str:
    """The file's text: every key, followed by its meaning."""
    lines = []
    for key, field in Site.model_fields.items():
        value = getattr(site, key)
        if isinstance(value, tuple):
            lines.append(f"{key}:  # {field.description}")
            lines += _pools(value)
        else:
            lines.append(f"{key}: {_scalar(value)}  # {field.description}")
    return HEAD + "\n".join(lines) + "\n"


def _pools(pools: Sequence[Pool]) -> Iterator[str]:
    """One pool as a mapping; several as a list of them."""
    for pool in pools:
        first = "  - " if len(pools) > 1 else "  "
        for number, line in enumerate(_keys(pool)):
            yield (first if number == 0 else " " * len(first)) + line


def _keys(pool: BaseModel) -> Iterator[str]:
    for key, field in type(pool).model_fields.items():
        yield f"{key}: {_scalar(getattr(pool, key))}  # {field.description}"


def _scalar(value: Any) -> str:
    if isinstance(value, tuple):
        return yaml.safe_dump(list(value), width=1000, default_flow_style=True).strip()
    # YAML ends a bare scalar with a line "..."; and one key has to stay on one line.
    return yaml.safe_dump(value, width=1000).splitlines()[0]


def _row(partition: Partition) -> list[str]:
    nodes, up = partition.nodes, sum(node.up for node in partition.nodes)
    counts = sorted({gpus_text(node.gpus) or "-" for node in nodes})
    remarks = [partition.barred] if partition.barred else []
    if partition.preemptible:
        remarks.append("pre-emptible")
    if 0 < up < len(nodes):
        remarks.append(f"{len(nodes) - up} of its nodes down or drained")
    return [
        partition.name + ("*" if partition.default else ""),
        str(len(nodes)),
        _span([node.cpus for node in nodes]),
        f"{_span([node.mem_mb // 1000 for node in nodes])} GB"
        if any(node.mem_mb for node in nodes)
        else "-",
        " | ".join(counts) or "-",
        duration(60 * partition.minutes) if partition.minutes else "no limit",
        "; ".join(remarks),
    ]


def _span(values: Sequence[int]) -> str:
    if not values:
        return "-"
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}-{high}"


def _chosen(choice: Choice) -> Iterator[list[str]]:
    for kind, reason in choice.reasons.items():
        pools: tuple[Pool, ...] = getattr(choice.site, kind)
        for pool in pools:
            account = " ".join(filter(None, (pool.account or "-", pool.qos and f"({pool.qos})")))
            yield [kind, pool.partition or "-", account, reason]
