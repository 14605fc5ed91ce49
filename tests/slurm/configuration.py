"""The configuration files of the throw-away Slurm, as text.

In: ports and what a test changes. Out: slurm.conf, gres.conf, cgroup.conf, slurmdbd.conf and the
database's first statements. All paths begin with /etc/slurm: there the lab lays its folder.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping

ETC = "/etc/slurm"
NODES = ("cpu1", "gpu1", "gpu2")
GPU_NODES = ("gpu1", "gpu2")
GPUS_PER_NODE = 4
ACCOUNT = "prime"
CLUSTER = "lab"

_SLURM = {
    "ClusterName": CLUSTER,
    "AuthType": "auth/munge",
    # Slurm holds a requeued job back until the credentials of its last start have expired
    # (cred_expire + 1 s; two minutes by default), lest an old start pass for the new one.
    "AuthInfo": f"socket={ETC}/munge/munge.sock,cred_expire=8",
    "CredType": "cred/munge",
    "SlurmUser": "root",
    "SlurmdUser": "root",
    "StateSaveLocation": f"{ETC}/state",
    "SlurmdSpoolDir": f"{ETC}/spool/%n",
    "SlurmctldPidFile": f"{ETC}/slurmctld.pid",
    "SlurmdPidFile": f"{ETC}/slurmd-%n.pid",
    "SlurmctldLogFile": f"{ETC}/logs/slurmctld.log",
    "SlurmdLogFile": f"{ETC}/logs/slurmd-%n.log",
    # A node that is silent for SlurmdTimeout is down and its jobs are requeued; it serves again as
    # soon as its slurmd reports.
    "SlurmdTimeout": 10,
    "SlurmctldTimeout": 10,
    "ReturnToService": 2,
    "JobRequeue": 1,
    "MailProg": "/bin/true",
    "KillWait": 3,
    "CompleteWait": 0,
    "OverTimeLimit": 0,
    "InactiveLimit": 0,
    "MinJobAge": 300,
    # Without cgroups: processes are found by their parents, memory is watched once a second.
    "ProctrackType": "proctrack/linuxproc",
    "TaskPlugin": "task/none",
    "JobAcctGatherType": "jobacct_gather/linux",
    "JobAcctGatherFrequency": "task=1",
    "JobAcctGatherParams": "OverMemoryKill",
    "SwitchType": "switch/none",
    "MpiDefault": "none",
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_Core_Memory",
    "GresTypes": "gpu",
    "SchedulerType": "sched/backfill",
    "SchedulerParameters": (
        "sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0"
    ),
    "PreemptType": "preempt/partition_prio",
    "PreemptMode": "REQUEUE",
    # The nodes may have more processors than this machine.
    "SlurmdParameters": "config_overrides",
}
_ACCOUNTING = {
    "AccountingStorageType": "accounting_storage/slurmdbd",
    "AccountingStorageHost": "127.0.0.1",
    # Else clients look for munge's usual socket and wait for minutes.
    "AccountingStoragePass": f"{ETC}/munge/munge.sock",
    "AccountingStorageTRES": "gres/gpu",
    "AccountingStoreFlags": "job_comment",
}
_PARTITIONS = """\
PartitionName=cpu Nodes=cpu1 Default=YES MaxTime=1-0 DefMemPerCPU=500 PriorityTier=2 PreemptMode=OFF
PartitionName=short Nodes=cpu1 MaxTime=2 DefMemPerCPU=500 PriorityTier=2 PreemptMode=OFF
PartitionName=gpu Nodes=gpu[1-2] MaxTime=1-0 DefMemPerCPU=500 PriorityTier=2 PreemptMode=OFF
PartitionName=preempt Nodes=gpu[1-2] MaxTime=1-0 DefMemPerCPU=500 PriorityTier=1 GraceTime=6
"""

CGROUP_CONF = "CgroupAutomount=no\n"
# Slurm takes the numbers of GPUs (CUDA_VISIBLE_DEVICES) from the names of character devices only.
GRES_CONF = "".join(
    f"NodeName={node} Name=gpu Type=h100 File={ETC}/dev/nvidia[0-{GPUS_PER_NODE - 1}]\n"
    for node in GPU_NODES
)
DATABASE_SQL = "".join(
    f"{statement};\n"
    for statement in (
        "CREATE DATABASE IF NOT EXISTS slurm_acct_db",
        "CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm'",
        "CREATE USER IF NOT EXISTS 'slurm'@'localhost' IDENTIFIED BY 'slurm'",
        "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1'",
        "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'localhost'",
    )
)


def free_ports() -> dict[str, int]:
    """A port of its own for each daemon, that nobody uses now."""
    names = ("slurmctld", "slurmdbd", "mariadbd", *(f"slurmd-{node}" for node in NODES))
    found: dict[str, int] = {}
    # Below the range from which the system gives ports to clients.
    for port in random.SystemRandom().sample(range(15000, 32000), 1000):
        if len(found) == len(names):
            break
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found[names[len(found)]] = port
    return found


def slurm_conf(
    ports: Mapping[str, int],
    accounting: bool,
    settings: Mapping[str, object],
    memory: bool = True,
) -> str:
    """slurm.conf; `settings` are keys that a test adds, changes or, by None, leaves out.

    memory: whether nodes and partitions say how much they have; some sites' do not.
    """
    host = socket.gethostname().split(".")[0]
    values: dict[str, object] = {
        **_SLURM,
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmctldPort": ports["slurmctld"],
        "AccountingStorageType": "accounting_storage/none",
    }
    if accounting:
        values |= {**_ACCOUNTING, "AccountingStoragePort": ports["slurmdbd"]}
    values |= settings
    nodes = "".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[f'slurmd-{node}']} "
        f"CPUs=8 {'RealMemory=16000 ' if memory else ''}State=UNKNOWN"
        + (f" Gres=gpu:h100:{GPUS_PER_NODE}" if node in GPU_NODES else "")
        + "\n"
        for node in NODES
    )
    partitions = _PARTITIONS if memory else _PARTITIONS.replace(" DefMemPerCPU=500", "")
    lines = (f"{key}={value}\n" for key, value in values.items() if value is not None)
    return "".join(lines) + nodes + partitions


def slurmdbd_conf(ports: Mapping[str, int]) -> str:
    """slurmdbd.conf."""
    values = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={ETC}/munge/munge.sock",
        "DbdHost": "localhost",
        "DbdAddr": "127.0.0.1",
        "DbdPort": ports["slurmdbd"],
        "SlurmUser": "root",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "127.0.0.1",
        "StoragePort": ports["mariadbd"],
        "StorageUser": "slurm",
        "StoragePass": "slurm",
        "StorageLoc": "slurm_acct_db",
        "LogFile": f"{ETC}/logs/slurmdbd.log",
        "PidFile": f"{ETC}/slurmdbd.pid",
        "CommitDelay": 1,
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())
