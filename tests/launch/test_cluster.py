"""What Slurm prints, of several versions and sites, is understood."""

import pytest

from prime_core.launch.survey import cluster
from prime_core.launch.survey.cluster import (
    average_nodes,
    minutes,
    parse_associations,
    parse_config,
    parse_gres,
    parse_nodes,
    parse_partitions,
    parse_preemptible_qos,
    parse_qos,
)

# One line a node, as `scontrol --oneliner show node` of 20.11, 22.05 and 23.11 prints it.
NODES = """\
NodeName=old1 Arch=x86_64 CoresPerSocket=16 CPUAlloc=0 CPUTot=64 CPULoad=0.01 AvailableFeatures=rome,ib ActiveFeatures=rome,ib Gres=gpu:a100:4(S:0-1) NodeAddr=old1 NodeHostName=old1 Version=20.11.8 OS=Linux 4.18.0-305.el8.x86_64 #1 SMP Thu Apr 29 08:54:30 EDT 2021  RealMemory=515000 AllocMem=0 FreeMem=490000 Sockets=2 Boards=1 MemSpecLimit=5000 State=IDLE ThreadsPerCore=2 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A Partitions=gpu,low CfgTRES=cpu=64,mem=515000M,billing=64,gres/gpu=4 AllocTRES= Comment=State=DOWN until noon
NodeName=new1 Arch=x86_64 CoresPerSocket=48 CPUAlloc=8 CPUEfctv=94 CPUTot=96 CPULoad=8.00 AvailableFeatures=(null) ActiveFeatures=(null) Gres=gpu:a100:2(S:0),gpu:h100:4(S:1),nvme:1 NodeAddr=new1 NodeHostName=new1 Version=23.11.4 OS=Linux 5.14.0 #1 SMP RealMemory=1031000 AllocMem=64000 FreeMem=1 Sockets=2 Boards=1 State=MIXED+DRAIN ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A Partitions=gpu Reason=Kill task failed [root@2024-02-03T04:05:06]
NodeName=cpu1 CoresPerSocket=1 CPUTot=8 Gres=(null) RealMemory=1 State=DOWN*+CLOUD Partitions=cpu,low
NodeName=cpu2 CoresPerSocket=1 CPUTot=8 Gres= RealMemory=32000 State=IDLE+CLOUD+POWERED_DOWN Partitions=cpu
"""  # noqa: E501

PARTITIONS = """\
PartitionName=cpu AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL Default=YES QoS=N/A Hidden=NO MaxTime=UNLIMITED MaxCPUsPerNode=UNLIMITED Nodes=cpu[1-2] PriorityTier=10 RootOnly=NO ReqResv=NO PreemptMode=REQUEUE State=UP MaxMemPerNode=30000
PartitionName=gpu AllowGroups=staff,ml AllowAccounts=prime,other AllowQos=normal,long Default=NO MaxTime=2-12:30:00 MaxCPUsPerNode=32 Nodes=old1,new1 PriorityTier=10 RootOnly=NO ReqResv=NO PreemptMode=REQUEUE State=UP MaxMemPerNode=UNLIMITED
PartitionName=low AllowGroups=ALL DenyAccounts=guests AllowQos=ALL Default=NO MaxTime=01:00:00 Nodes=old1,cpu1 PriorityTier=1 RootOnly=NO ReqResv=NO PreemptMode=REQUEUE State=UP
PartitionName=gone AllowGroups=ALL AllowAccounts=ALL Default=NO MaxTime=60 Nodes=old1 PriorityTier=1 PreemptMode=OFF State=INACTIVE
PartitionName=empty AllowGroups=ALL AllowAccounts=ALL Default=NO MaxTime=60 Nodes=(null) PriorityTier=1 State=UP
"""  # noqa: E501


def partitions(preempt="preempt/partition_prio", groups=frozenset({"ml"}), text=PARTITIONS):
    found = parse_partitions(text, parse_nodes(NODES), {"PreemptType": preempt}, groups)
    return {partition.name: partition for partition in found}


def test_nodes_of_several_versions_are_read():
    nodes = {node.name: node for node in parse_nodes(NODES)}
    assert nodes["old1"].cpus == 64
    assert nodes["old1"].mem_mb == 510000, "without what is kept for the system"
    assert nodes["old1"].gpus == {"a100": 4}
    assert nodes["old1"].partitions == {"gpu", "low"}
    assert nodes["old1"].up, "what a comment says is no state"
    assert nodes["new1"].cpus == 94
    assert nodes["new1"].gpus == {"a100": 2, "h100": 4}
    assert not nodes["new1"].up
    assert not nodes["cpu1"].up
    assert nodes["cpu1"].mem_mb == 0, "not configured"
    assert nodes["cpu2"].up, "a cloud node that sleeps is started for a job"


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("gpu:4", {"": 4}),
        ("gpu:h100:8", {"h100": 8}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:a100:4(S:0,2),nvme:1", {"a100": 4}),
        ("gpu:a100:2(S:0),gpu:v100:1(S:1)", {"a100": 2, "v100": 1}),
        ("gpu:a100_3g.20gb:2,gpu:a100_1g.5gb:7", {"a100_3g.20gb": 2, "a100_1g.5gb": 7}),
        ("gpu:tesla_v100:no_consume:2", {"tesla_v100": 2}),
        ("craynetwork:4,shard:h100:8,mps:200", {}),
        ("gpu:h100:0", {}),
        ("(null)", {}),
        ("", {}),
    ],
)
def test_gpus_are_found_among_generic_resources(text, gpus):
    assert parse_gres(text) == gpus


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1-00:00:00", 1440),
        ("2-12:30:00", 3630),
        ("00:02:00", 2),
        ("2:00", 2),
        ("UNLIMITED", None),
        ("infinite", None),
        ("NONE", None),
        ("", None),
    ],
)
def test_time_limits_are_whole_minutes(text, expected):
    assert minutes(text) == expected


def test_partitions_have_their_limits_and_nodes():
    found = partitions()
    assert found["cpu"].default
    assert not found["gpu"].default
    assert found["cpu"].minutes is None
    assert found["cpu"].max_mem_mb == 30000
    assert found["gpu"].minutes == 3630
    assert found["gpu"].max_cpus == 32
    assert found["gpu"].gpus == {"a100": 6, "h100": 4}
    assert found["gpu"].num_gpus == 10
    assert [node.name for node in found["low"].nodes] == ["old1", "cpu1"]


def test_a_partition_says_whom_it_serves():
    found = partitions()
    assert found["gpu"].allows("prime")
    assert not found["gpu"].allows("guests")
    assert found["gpu"].qos == {"normal", "long"}
    assert not found["low"].allows("guests")
    assert found["low"].allows("prime")
    assert found["cpu"].allows("anyone")


def test_a_partition_that_gives_whole_nodes_says_so():
    shown = "PartitionName=a OverSubscribe=EXCLUSIVE\nPartitionName=b OverSubscribe=NO\n"
    found = parse_partitions(shown, [], {}, None)
    assert [one.exclusive for one in found] == [True, False]


def test_where_nodes_are_hidden_the_partitions_totals_describe_them():
    shown = (
        "PartitionName=gpu Nodes=g[1-2] State=UP TotalCPUs=64 TotalNodes=2 "
        "TRES=cpu=64,mem=1000000M,node=2,billing=64,gres/gpu=8,gres/gpu:a100=8\n"
        "PartitionName=bare Nodes=b1 State=UP TotalNodes=1 TRES=cpu=8,mem=1M,node=1\n"
        "PartitionName=none Nodes=(null) State=UP TotalNodes=0 TRES=(null)\n"
    )
    found = {p.name: p for p in parse_partitions(shown, average_nodes(shown), {}, None)}
    assert [(n.cpus, n.mem_mb, n.gpus) for n in found["gpu"].nodes] == [(32, 500000, {"": 4})] * 2
    assert (found["gpu"].num_gpus, found["gpu"].barred) == (8, "")
    assert [node.mem_mb for node in found["bare"].nodes] == [0]
    assert found["none"].barred == "no node is up"


def test_a_closed_partition_says_why():
    found = partitions()
    assert found["gpu"].barred == ""
    assert found["gone"].barred == "state INACTIVE"
    assert found["empty"].barred == "no node is up"
    assert partitions(groups=frozenset({"students"}))["gpu"].barred == "only for group ml, staff"
    assert partitions(groups=None)["gpu"].barred == "", "root"
    reserved = partitions(text=PARTITIONS.replace("ReqResv=NO", "ReqResv=YES"))
    assert reserved["cpu"].barred == "needs a reservation"
    closed = partitions(text=PARTITIONS.replace("RootOnly=NO", "RootOnly=YES"))
    assert closed["cpu"].barred == "root only"


def test_a_partition_that_others_outrank_on_its_nodes_is_preemptible():
    found = partitions()
    assert found["low"].preemptible
    assert not found["gpu"].preemptible
    assert not found["cpu"].preemptible, "nobody outranks it, although its mode is REQUEUE"
    assert not found["gone"].preemptible, "its mode is OFF"
    assert not partitions(preempt="preempt/none")["low"].preemptible


def test_associations_and_qos_are_read():
    default, limited = parse_associations(
        "prime||normal,long|normal|\nother|gpu|normal||1-00:00:00\n"
    )
    assert default.account == "prime"
    assert default.qos == ("normal", "long")
    assert default.minutes is None
    assert (limited.partition, limited.default_qos, limited.minutes) == ("gpu", "", 1440)
    assert parse_qos("normal|\nlong|7-00:00:00\n") == {"long": 10080}


def test_the_configuration_is_read():
    config = parse_config(
        "Configuration data as of 2026-01-01T00:00:00\n"
        "AuthInfo                = socket=/run/munge.sock,cred_expire=8\n"
        "MinJobAge               = 300 sec\n\n"
        "Slurmctld(primary) at head is UP\n"
    )
    assert config["MinJobAge"] == "300 sec"
    assert config["AuthInfo"] == "socket=/run/munge.sock,cred_expire=8"


@pytest.mark.parametrize("spelled", ["accounting_storage/none", "(null)"])
def test_versions_spell_it_differently_that_there_is_no_accounting(spelled, monkeypatch):
    def call(*command: str) -> str:
        assert command[0] != "sacctmgr"
        if command[-1] == "config":
            return f"AccountingStorageType = {spelled}\nClusterName = lab\n"
        return ""

    monkeypatch.setattr(cluster, "_call", call)
    assert cluster.ask().accounting.startswith("this Slurm keeps no accounting records")


def test_qos_that_give_way_to_others_are_found_with_what_becomes_of_their_jobs():
    rows = "normal|||cluster\nhigh||normal,low|cluster\nlow|1:00:00||requeue\n"
    by_qos = {"PreemptType": "preempt/qos", "PreemptMode": "GANG,CANCEL"}
    assert parse_preemptible_qos(rows, by_qos) == {"normal": "CANCEL", "low": "REQUEUE"}
    assert parse_preemptible_qos(rows, {"PreemptType": "preempt/partition_prio"}) == {}
    assert parse_qos(rows) == {"low": 60}
