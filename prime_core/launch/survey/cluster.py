"""What Slurm reports about a cluster: partitions, nodes, GPUs, limits, and what a user may use.

In: the output of `scontrol show config|partition|node` and `sacctmgr show assoc|qos|user`. Out: a
Cluster. Nothing is chosen here, and what a site keeps from its users (PrivateData) is left open.
Why not sinfo: docs/decisions.md#site-from-nodes.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from prime_core.launch.slurm import commands as slurm

_TIMEOUT = 30.0  # seconds for one question
_UNUSABLE = {"DOWN", "DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING", "INVAL", "UNKNOWN"}
_GPU = re.compile(r"^gpu(?::(?P<model>[^:]+))?(?::no_consume)?:(?P<count>\d+)$")
# What Slurm says to a user who may not know (PrivateData), not where it is down.
_CLOSED = re.compile(r"denied|permission|privilege|not authorized", re.IGNORECASE)
# "cpu=16,mem=32000M,node=2,gres/gpu=8": whole numbers, memory in MB.
_PAIR = re.compile(r"([a-z/]+)=(\d+)(?=M?(?:,|$))")


@dataclass(frozen=True)
class Node:
    """One node; mem_mb: 0 where not configured; gpus: count by type, "" for an unnamed type."""

    name: str
    cpus: int
    mem_mb: int
    gpus: Mapping[str, int]
    up: bool
    partitions: frozenset[str]


@dataclass(frozen=True)
class Partition:
    """A partition as one user sees it.

    minutes: the longest job, None: no limit; barred: why this user's jobs cannot run there, "" when
    they can; preemptible: jobs give way to those of another partition; preempt_mode: what Slurm
    then does with them (REQUEUE, CANCEL, SUSPEND); exclusive: a job gets whole nodes; accounts,
    qos: the only ones allowed, None: all; denied: accounts that are not.
    """

    name: str
    default: bool
    minutes: int | None
    barred: str
    preemptible: bool
    accounts: frozenset[str] | None
    denied: frozenset[str]
    qos: frozenset[str] | None
    max_mem_mb: int | None
    max_cpus: int | None
    nodes: tuple[Node, ...]
    preempt_mode: str = ""
    exclusive: bool = False

    @property
    def gpus(self) -> dict[str, int]:
        """GPUs of all its nodes by type."""
        total: dict[str, int] = {}
        for node in self.nodes:
            for model, count in node.gpus.items():
                total[model] = total.get(model, 0) + count
        return total

    @property
    def num_gpus(self) -> int:
        """GPUs of all its nodes."""
        return sum(self.gpus.values())

    @property
    def num_cpus(self) -> int:
        """Processors of all its nodes."""
        return sum(node.cpus for node in self.nodes)

    def allows(self, account: str) -> bool:
        """Whether jobs charged to this account may run there."""
        return account not in self.denied and (self.accounts is None or account in self.accounts)


@dataclass(frozen=True)
class Association:
    """An account that the user may charge; partition "": all; minutes: longest job, None: any."""

    account: str
    partition: str
    qos: tuple[str, ...]
    default_qos: str
    minutes: int | None


@dataclass(frozen=True)
class Cluster:
    """What is known; min_job_age: seconds that squeue remembers an ended job, 0: forever.

    accounting: "" when sacct and sacctmgr answer, else why not. enforced: whether Slurm refuses
    jobs of users without an account. qos_minutes: longest job by QoS, where there is a limit.
    counts_gpus: whether jobs can ask for GPUs (select/linear gives whole nodes, and fails the steps
    of a job that did). closed: what this user may not ask, and Slurm's words.
    preemptible_qos: those whose jobs give way to another's, and what Slurm then does with them.
    """

    name: str
    version: str
    user: str
    min_job_age: int
    enforced: bool
    accounting: str
    default_account: str
    associations: tuple[Association, ...]
    qos_minutes: Mapping[str, int]
    partitions: tuple[Partition, ...]
    counts_gpus: bool = True
    closed: Mapping[str, str] = field(default_factory=dict)
    preemptible_qos: Mapping[str, str] = field(default_factory=dict)

    @property
    def accounts(self) -> list[str]:
        """The user's accounts, each once, the default first."""
        names = dict.fromkeys(entry.account for entry in self.associations)
        return sorted(names, key=lambda name: name != self.default_account)


def ask() -> Cluster:
    """Query Slurm. Raises SlurmError when it is not installed or does not answer."""
    user = _user()
    closed: dict[str, str] = {}
    config = parse_config(_open(closed, "settings", "scontrol", "show", "config"))
    shown_nodes = _open(closed, "nodes", "scontrol", "--all", "--oneliner", "show", "node")
    shown = _open(closed, "partitions", "scontrol", "--oneliner", "show", "partition")
    nodes = parse_nodes(shown_nodes) if "nodes" not in closed else average_nodes(shown)
    numbers = {os.getegid(), *os.getgroups()}
    groups = {_group(number) for number in numbers} if os.geteuid() else None
    name = config.get("ClusterName", "")
    accounting, default, associations, qos = "", "", "", ""
    # From 24.05 on "(null)" where older versions say "accounting_storage/none".
    if config.get("AccountingStorageType", "").endswith(("none", "(null)")):
        accounting = "this Slurm keeps no accounting records (AccountingStorageType)"
    else:
        where = ("where", f"user={user}", *([f"cluster={name}"] if name else []))
        try:
            default = _ask_accounts("user", "defaultaccount", "where", f"user={user}")
            fields = "account,partition,qos,defaultqos,maxwall"
            associations = _ask_accounts("assoc", fields, *where)
            qos = _ask_accounts("qos", "name,maxwall,preempt,preemptmode")
        # Partitions can be chosen without the database; what it would have said becomes a warning.
        except slurm.SlurmError as error:
            accounting = _one_line(error)
    return Cluster(
        name=name or "?",
        version=config.get("SLURM_VERSION", "?"),
        user=user,
        # shown as "300 sec"
        min_job_age=int(config.get("MinJobAge", "300").split()[0]),
        enforced=bool({"associations", "limits", "qos", "safe", "all"} & _enforced(config)),
        accounting=accounting,
        default_account=default.strip().split("\n")[0],
        associations=tuple(parse_associations(associations)),
        qos_minutes=parse_qos(qos),
        preemptible_qos=parse_preemptible_qos(qos, config),
        partitions=parse_partitions(shown, nodes, config, groups),
        counts_gpus=config.get("SelectType") != "select/linear",
        closed=closed,
    )


def parse_config(text: str) -> dict[str, str]:
    """`scontrol show config`: values by key."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def parse_nodes(text: str) -> list[Node]:
    """`scontrol --oneliner show node`."""
    nodes = []
    for fields in _lines(text, "NodeName"):
        # 1 MB is Slurm's default: nobody configured it. What is reserved for the system cannot be
        # asked for (docs/decisions.md#site-from-nodes).
        mem_mb = int(fields.get("RealMemory", "1")) - int(fields.get("MemSpecLimit", "0"))
        # Flags are appended, as in IDLE+DRAIN, or DOWN* for a node that does not answer.
        states = set(re.split(r"[+*]", fields.get("State", "UNKNOWN")))
        nodes.append(
            Node(
                name=fields["NodeName"],
                # without the cores reserved for the system; older versions do not show it
                cpus=int(fields.get("CPUEfctv") or fields.get("CPUTot", "1")),
                mem_mb=mem_mb if mem_mb > 1 else 0,
                gpus=parse_gres(fields.get("Gres", "")),
                up=not states & _UNUSABLE,
                partitions=frozenset(fields.get("Partitions", "").split(",")),
            )
        )
    return nodes


def average_nodes(text: str) -> list[Node]:
    """Nodes as the partitions' totals tell them (`scontrol --oneliner show partition`), all alike.

    For users who may not ask for nodes. A node in two partitions is counted in both.
    """
    found: list[Node] = []
    for fields in _lines(text, "PartitionName"):
        name, total = fields["PartitionName"], _number(fields.get("TotalNodes", "")) or 0
        tres = dict(_PAIR.findall(fields.get("TRES", "")))
        cpus, mem_mb, gpus = (
            int(tres.get(kind, "0")) // max(total, 1) for kind in ("cpu", "mem", "gres/gpu")
        )
        here = frozenset({name})
        one = Node("", cpus, mem_mb if mem_mb > 1 else 0, {"": gpus} if gpus else {}, True, here)
        found += [replace(one, name=f"{name}-{number}") for number in range(total)]
    return found


def parse_gres(text: str) -> dict[str, int]:
    """GPUs by type of Gres=gpu:a100:4(S:0-1),gpu:v100:2(S:1),nvme:1; other resources left out."""
    found: dict[str, int] = {}
    for part in re.sub(r"\([^)]*\)", "", text).split(","):
        match = _GPU.match(part.strip())
        if match and int(match["count"]):
            model = match["model"] or ""
            found[model] = found.get(model, 0) + int(match["count"])
    return found


def parse_partitions(
    text: str, nodes: Sequence[Node], config: Mapping[str, str], groups: set[str] | None
) -> tuple[Partition, ...]:
    """`scontrol --oneliner show partition`; groups: the user's, None: no restriction (root)."""
    all_fields = list(_lines(text, "PartitionName"))
    members = {
        fields["PartitionName"]: tuple(n for n in nodes if fields["PartitionName"] in n.partitions)
        for fields in all_fields
    }
    preempts = config.get("PreemptType", "preempt/none") == "preempt/partition_prio"
    tier_of_node: dict[str, int] = {}  # the highest of the partitions that share the node
    for fields in all_fields:
        for node in members[fields["PartitionName"]]:
            tier_of_node[node.name] = max(tier_of_node.get(node.name, 0), _tier(fields))
    found = []
    for fields in all_fields:
        name = fields["PartitionName"]
        outranked = any(tier_of_node[node.name] > _tier(fields) for node in members[name])
        found.append(
            Partition(
                name=name,
                default=fields.get("Default") == "YES",
                minutes=minutes(fields.get("MaxTime", "")),
                barred=_barred(fields, members[name], groups),
                preemptible=preempts and outranked and fields.get("PreemptMode") != "OFF",
                preempt_mode=_mode(fields.get("PreemptMode") or config.get("PreemptMode", "")),
                accounts=_names(fields.get("AllowAccounts", "ALL")),
                denied=_names(fields.get("DenyAccounts", "")) or frozenset(),
                qos=_names(fields.get("AllowQos", "ALL")),
                exclusive=fields.get("OverSubscribe", "") == "EXCLUSIVE",
                max_mem_mb=_number(fields.get("MaxMemPerNode", "")),
                max_cpus=_number(fields.get("MaxCPUsPerNode", "")),
                nodes=members[name],
            )
        )
    return tuple(found)


def parse_associations(text: str) -> Iterator[Association]:
    """`sacctmgr --parsable2 show assoc format=account,partition,qos,defaultqos,maxwall`."""
    for line in text.splitlines():
        account, partition, qos, default_qos, wall = line.split("|")[:5]
        names = tuple(name for name in qos.split(",") if name)
        yield Association(account, partition, names, default_qos, minutes(wall))


def parse_qos(text: str) -> dict[str, int]:
    """`sacctmgr --parsable2 show qos format=name,maxwall,...`: those that have a limit."""
    limits = {}
    for line in text.splitlines():
        name, wall = line.split("|")[:2]
        limit = minutes(wall)
        if limit is not None:
            limits[name] = limit
    return limits


def parse_preemptible_qos(text: str, config: Mapping[str, str]) -> dict[str, str]:
    """`sacctmgr --parsable2 show qos format=name,maxwall,preempt,preemptmode`: modes by QoS."""
    if config.get("PreemptType") != "preempt/qos":
        return {}
    rows = [line.split("|")[:4] for line in text.splitlines()]
    victims = {name for row in rows for name in row[2].split(",") if name}
    cluster = config.get("PreemptMode", "")
    # "cluster": as the cluster's own setting says.
    return {
        name: _mode(cluster if mode in ("", "cluster") else mode)
        for name, _, _, mode in rows
        if name in victims
    }


def _mode(text: str) -> str:
    """What becomes of a pre-empted job, of GANG,SUSPEND and the like."""
    return text.upper().replace("GANG", "").strip(",")


def gpus_text(gpus: Mapping[str, int]) -> str:
    """GPU counts as text, by model: "4 a100, 8 h100"; an unnamed type is a bare number."""
    return ", ".join(f"{count} {name}".rstrip() for name, count in sorted(gpus.items()))


def minutes(text: str) -> int | None:
    """Whole minutes of Slurm's time; None for UNLIMITED, infinite, NONE and nothing."""
    seconds = slurm.seconds(text) if text.strip() else -1
    return None if seconds < 60 else seconds // 60


def _barred(fields: Mapping[str, str], nodes: Sequence[Node], groups: set[str] | None) -> str:
    state = fields.get("State", "UP")
    allowed = _names(fields.get("AllowGroups", "ALL"))
    if state != "UP":
        return f"state {state}"
    if fields.get("ReqResv") == "YES":
        return "needs a reservation"
    if fields.get("RootOnly") == "YES" and groups is not None:
        return "root only"
    if allowed is not None and groups is not None and not allowed & groups:
        return f"only for group {', '.join(sorted(allowed))}"
    if not any(node.up for node in nodes):
        return "no node is up"
    return ""


def _lines(text: str, first: str) -> Iterator[dict[str, str]]:
    """Fields of each line that has the first of them."""
    for line in text.splitlines():
        fields = slurm.fields(line)
        if first in fields:
            yield fields


def _names(text: str) -> frozenset[str] | None:
    if text in ("ALL", "(null)", "N/A"):
        return None
    return frozenset(name for name in text.split(",") if name)


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() and int(text) else None


def _tier(fields: Mapping[str, str]) -> int:
    return _number(fields.get("PriorityTier", "1")) or 0


def _enforced(config: Mapping[str, str]) -> set[str]:
    return set(config.get("AccountingStorageEnforce", "none").lower().split(","))


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _ask_accounts(what: str, fields: str, *where: str) -> str:
    command = ("sacctmgr", "--noheader", "--parsable2", "--readonly", "show", what, *where)
    return _call(*command, f"format={fields}")


def _call(*command: str) -> str:
    return slurm.call(*command, timeout=_TIMEOUT)


def _open(closed: dict[str, str], what: str, *command: str) -> str:
    """The answer to a question, "" where this user may not ask it: `closed` then says so."""
    try:
        return _call(*command)
    except slurm.SlurmError as error:
        if not _CLOSED.search(str(error)):
            raise
        closed[what] = _one_line(error)
        return ""


def _one_line(error: slurm.SlurmError) -> str:
    """Slurm's words in one line, without the command's name: it may have any number of options."""
    return " ".join(str(error).partition(": ")[2].split())
