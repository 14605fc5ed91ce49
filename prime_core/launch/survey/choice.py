"""Which partitions a run should use, and why.

In: a Cluster, what the stages ask for, what the user wants. Out: a Site, the reason for each
choice, and warnings about what will cause trouble.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prime_core.launch.site.site import Pool, Site
from prime_core.launch.site.stage_resources import StageNeeds
from prime_core.launch.survey.cluster import Association, Cluster, Partition, gpus_text
from prime_core.runtime.text import duration
from prime_core.settings.reading import SettingsError

DAY = 1440  # minutes; a controller's job need not be longer, since it requeues itself
SHORT_MEMORY = 120  # seconds; jobs are polled every ten, but this machine or Slurm may stall
_ENDLESS = 10**9
# A slice of a GPU, as NVIDIA names its profiles: 1g.10gb, a100_3g.20gb, nvidia_a100_1g.5gb.
_MIG = re.compile(r"(?:\b|_)\d+g\.\d+gb")
# What becomes of a pre-empted job, by Slurm's PreemptMode.
_BACK = {
    "CANCEL": "Slurm cancels them, the workflow submits them again, and they resume where they "
    "stopped",
    "REQUEUE": "Slurm requeues them, and they resume where they stopped",
    "SUSPEND": "Slurm suspends them for a while",
}


@dataclass
class Choice:
    """The site, why its partitions were chosen (by cpu, gpu, controller), and warnings."""

    site: Site
    reasons: Mapping[str, str]
    warnings: Sequence[str]


@dataclass(frozen=True)
class Wanted:
    """What the user asked for; nothing where the choice is free."""

    cpu_partitions: tuple[str, ...] = ()
    gpu_partitions: tuple[str, ...] = ()
    account: str = ""


def choose(cluster: Cluster, stages: Mapping[str, StageNeeds], wanted: Wanted) -> Choice:
    """A site for the cluster. Raises SettingsError for an unknown partition or account, or none."""
    return _Chooser(cluster, stages, wanted).choose()


@dataclass
class _Chooser:
    cluster: Cluster
    stages: Mapping[str, StageNeeds]
    wanted: Wanted
    warnings: list[str] = field(default_factory=list)

    def choose(self) -> Choice:
        self._check_account()
        if "partitions" in self.cluster.closed:
            return self._unseen()
        cpus, cpu_reason = self._partitions("cpu", self.wanted.cpu_partitions, self._cpu_rank)
        gpus, gpu_reason = self._partitions("gpu", self.wanted.gpu_partitions, self._gpu_rank)
        if not any(partition.num_gpus for partition in gpus):
            if not self.wanted.gpu_partitions:
                gpus, gpu_reason = cpus, "no partition with GPUs is open to you"
            self.warnings.append(f"gpu: {gpus[0].name} has no GPUs; models will run on CPUs")
        controller, controller_reason = self._controller(cpus[0])
        site = Site(
            cpu=[self._pool("cpu", partition) for partition in cpus],
            gpu=[self._pool("gpu", partition) for partition in gpus],
            controller=self._pool("controller", controller),
        )
        self._warn_of_slurm()
        reasons = {"cpu": cpu_reason, "gpu": gpu_reason, "controller": controller_reason}
        return Choice(site, reasons, self.warnings)

    def _unseen(self) -> Choice:
        """What the user said, on a cluster that does not show its partitions."""
        account = self.wanted.account or next(iter(self.cluster.accounts), None)
        named = {"cpu": self.wanted.cpu_partitions, "gpu": self.wanted.gpu_partitions}
        pools = {
            kind: [Pool(partition=name, account=account) for name in names or (None,)]
            for kind, names in named.items()
        }
        self._warn_of_slurm()
        site = Site(cpu=pools["cpu"], gpu=pools["gpu"], controller=pools["cpu"][0])
        reasons = {
            kind: "as requested" if named[kind] else "Slurm's default partition" for kind in named
        }
        return Choice(site, reasons | {"controller": "same as cpu"}, self.warnings)

    def _check_account(self) -> None:
        account, known = self.wanted.account, self.cluster.accounts
        # Without accounting no accounts are known, and sbatch is left to judge.
        if account and known and account not in known:
            raise SettingsError(
                f"--account {account}: not yours on this cluster; you have {', '.join(known)}"
            )

    def _partitions(
        self, kind: str, names: Sequence[str], rank: Callable[[Partition], tuple[Any, ...]]
    ) -> tuple[list[Partition], str]:
        if names:
            found = [self._named(kind, name) for name in names]
            return found, f"requested by --{kind}-partition"
        usable = [part for part in self.cluster.partitions if not self._closed(part)]
        if not usable:
            raise SettingsError(
                "no partition is open to you: "
                + "; ".join(f"{p.name}: {self._closed(p)}" for p in self.cluster.partitions)
            )
        best = max(usable, key=rank)
        return [best], _features(kind, best)

    def _named(self, kind: str, name: str) -> Partition:
        for partition in self.cluster.partitions:
            if partition.name == name:
                if why := self._closed(partition):
                    self.warnings.append(f"{kind}: the partition {name} is closed to you: {why}")
                return partition
        names = ", ".join(partition.name for partition in self.cluster.partitions)
        raise SettingsError(
            f"--{kind}-partition {name}: no such partition; expected one of {names}"
        )

    def _controller(self, cpu: Partition) -> tuple[Partition, str]:
        if not cpu.preemptible and (cpu.minutes or _ENDLESS) >= DAY:
            return cpu, "same as cpu: a day is enough, it requeues itself"
        usable = [p for p in self.cluster.partitions if not self._closed(p)]
        best = max(
            # first, since max() keeps the first of equals
            [cpu, *usable],
            key=lambda p: (not p.num_gpus, not p.preemptible, p.minutes or _ENDLESS),
        )
        return best, _features("controller", best)

    def _closed(self, partition: Partition) -> str:
        if partition.barred:
            return partition.barred
        accounts = [self.wanted.account] if self.wanted.account else self.cluster.accounts
        if accounts and not any(partition.allows(account) for account in accounts):
            return f"not open to account {', '.join(accounts)}"
        return ""

    def _needs(self, kind: str) -> list[tuple[str, StageNeeds]]:
        return [(name, needs) for name, needs in self.stages.items() if needs.pool == kind]

    def _fits(self, kind: str, partition: Partition) -> bool:
        # Of first attempts: retries ask for more, but are capped (submission.limit).
        longest = max((needs.runtime for _, needs in self._needs(kind)), default=0)
        return (partition.minutes or _ENDLESS) >= longest

    def _cpu_rank(self, partition: Partition) -> tuple[Any, ...]:
        return (
            not partition.num_gpus,
            not partition.preemptible,
            self._fits("cpu", partition),
            partition.default,
            partition.num_cpus,
            partition.minutes or _ENDLESS,
        )

    def _gpu_rank(self, partition: Partition) -> tuple[Any, ...]:
        return (
            partition.num_gpus > 0,
            not partition.preemptible,
            self._fits("gpu", partition),
            sum(sum(node.gpus.values()) for node in partition.nodes if node.up),
            partition.default,
            partition.minutes or _ENDLESS,
        )

    def _pool(self, kind: str, partition: Partition) -> Pool:
        account, association = self._account(partition)
        qos, qos_minutes = self._qos(kind, partition, association)
        limits = [partition.minutes, association and association.minutes, qos_minutes]
        minutes = min((limit for limit in limits if limit), default=None)
        gpus = partition.gpus if kind == "gpu" else {}
        # Whole GPUs before slices of them, however many those are.
        model = max(gpus, key=lambda name: (not _MIG.search(name), gpus[name]), default="")
        nodes = [node for node in partition.nodes if not gpus or model in node.gpus]
        counts = Counter(node.gpus.get(model, 0) for node in nodes)
        pool = Pool(
            partition=partition.name,
            account=account,
            qos=qos,
            # A single type needs no name.
            gpu_model=model if model and len(gpus) > 1 else None,
            # The usual node, not the largest: jobs that fit only a few nodes wait for those.
            gpus_per_node=counts.most_common(1)[0][0] if gpus else 0,
            gres="gpu" if self.cluster.counts_gpus else None,
            whole_nodes=partition.exclusive or not self.cluster.counts_gpus,
            # 1 MB, Slurm's default, counts as not configured: every --mem would be refused.
            memory="node" if not nodes or any(node.mem_mb for node in nodes) else "none",
            max_minutes=minutes,
            max_mem_mb=_most([n.mem_mb for n in nodes], partition.max_mem_mb),
            max_cpus=_most([n.cpus for n in nodes], partition.max_cpus),
        )
        self._warn_of_pool(kind, partition, pool, model)
        default_qos = association.default_qos if association else ""
        self._warn_of_preemption(kind, partition, qos or default_qos)
        return pool

    def _account(self, partition: Partition) -> tuple[str | None, Association | None]:
        names = [self.wanted.account] if self.wanted.account else self.cluster.accounts
        for name in names:
            for entry in self.cluster.associations:
                here = entry.partition in ("", partition.name)
                if entry.account == name and here and partition.allows(name):
                    return name, entry
        return self.wanted.account or None, None

    def _qos(
        self, kind: str, partition: Partition, association: Association | None
    ) -> tuple[str | None, int | None]:
        """The QoS to ask for, None: Slurm's default will do; the longest job that it allows."""
        if association is None:
            return None, None
        default = association.default_qos or next(iter(association.qos), "")
        # Slurm takes the default by itself; its limit on times holds all the same.
        if partition.qos is None or default in partition.qos:
            return None, self.cluster.qos_minutes.get(default)
        for name in association.qos:
            if name in partition.qos:
                return name, self.cluster.qos_minutes.get(name)
        self.warnings.append(
            f"{kind}: the partition {partition.name} is for the QoS "
            f"{', '.join(sorted(partition.qos))}; you have {', '.join(association.qos) or 'none'}"
        )
        return None, None

    def _warn_of_pool(self, kind: str, partition: Partition, pool: Pool, model: str) -> None:
        wishes: dict[str, tuple[int | None, dict[str, int]]] = {
            "minutes": (pool.max_minutes, {}),
            "MB of memory": (pool.max_mem_mb, {}),
            "CPUs per node": (pool.max_cpus, {}),
            "GPUs per node": (pool.gpus_per_node or None, {}),
        }
        for name, needs in self._needs(kind):
            ranks = needs.tasks_per_node or max(needs.gpus_per_node, 1)
            asked = (needs.runtime, needs.mem_mb, needs.cpus_per_task * ranks, needs.gpus_per_node)
            for (limit, above), number in zip(wishes.values(), asked, strict=True):
                if limit is not None and number > limit:
                    above[name] = number
        if (
            pool.gpus_per_node
            and _MIG.search(model)
            and max((n.gpus_per_node for _, n in self._needs(kind)), default=0) > 1
        ):
            self.warnings.append(
                f"{kind}: a process can use one MIG device ({model}) only: keep gpus_per_node in "
                "cluster_profiles/stages.yaml at 1"
            )
        for what, (limit, above) in wishes.items():
            if above:
                self.warnings.append(
                    f"{kind}: {', '.join(above)}: asks for up to {max(above.values())} {what} "
                    f"(cluster_profiles/stages.yaml), {partition.name} allows {limit}"
                )

    def _warn_of_preemption(self, kind: str, partition: Partition, qos: str) -> None:
        modes = {f"in {partition.name}": partition.preempt_mode} if partition.preemptible else {}
        if qos in self.cluster.preemptible_qos:
            modes |= {f"of QoS {qos}": self.cluster.preemptible_qos[qos]}
        for which, mode in modes.items():
            back = _BACK.get(mode, "they resume where they stopped")
            self.warnings.append(f"{kind}: jobs {which} may be pre-empted; {back}")

    def _warn_of_slurm(self) -> None:
        cluster = self.cluster
        if not cluster.counts_gpus:
            self.warnings.append(
                "Slurm gives whole nodes here (select/linear): every job holds a node with all of "
                "its GPUs, for which it must not ask (gres: null)"
            )
        if 0 < cluster.min_job_age < SHORT_MEMORY:
            self.warnings.append(
                f"Slurm forgets an ended job after {cluster.min_job_age} s (MinJobAge, 300 by "
                "default): how a job ended may be missed; ask the administrators to raise it"
            )
        if cluster.accounting:
            self.warnings.append(
                f"no accounting: {cluster.accounting}; hours are estimated from squeue"
            )
        elif not cluster.associations:
            refused = ": jobs will be refused" if cluster.enforced else ""
            self.warnings.append(f"{cluster.user} has no account on this cluster{refused}")


def _features(kind: str, partition: Partition) -> str:
    gpus = gpus_text(partition.gpus)
    parts = [
        f"has GPUs ({gpus})" if gpus else "has no GPUs",
        "Slurm's default" if partition.default else "",
        f"jobs up to {duration(60 * partition.minutes)}"
        if partition.minutes
        else "jobs of any length",
        "pre-emptible, as no other fits" if partition.preemptible else "",
    ]
    if kind == "controller":
        parts.append("the longest available")
    return "; ".join(part for part in parts if part)


def _most(values: Sequence[int], limit: int | None) -> int | None:
    """The largest node's value, capped by the partition's limit; 0 stands for not configured."""
    return min((number for number in (max(values, default=0), limit) if number), default=None)
