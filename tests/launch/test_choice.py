"""`prime site` chooses what a knowing user would, and warns of what will bite."""

import re
from dataclasses import replace

import pytest

from prime_core.launch.site.site import Pool, Site, load_site
from prime_core.launch.site.stage_resources import StageNeeds
from prime_core.launch.survey.choice import Choice, Wanted, choose
from prime_core.launch.survey.cluster import Association, Cluster, Node, Partition
from prime_core.launch.survey.survey import EXAMPLE, as_yaml, described, left_to_fill
from prime_core.settings.reading import SettingsError
from tests.support.shared_data import ROOT

NEEDS = {
    "verify": StageNeeds(pool="cpu", mem_mb=4000, runtime=60, cpus_per_task=4),
    "policy": StageNeeds(pool="gpu", mem_mb=8000, runtime=120, gpus_per_node=2, cpus_per_task=2),
}
CPU = Node("cpu1", 16, 64000, {}, True, frozenset())
A100 = Node("a1", 32, 256000, {"a100": 4}, True, frozenset())
H100 = Node("h1", 64, 512000, {"h100": 8}, True, frozenset())
MINE = Association("mine", "", ("normal",), "normal", None)


def partition(name: str, *nodes: Node, **changes) -> Partition:
    plain = Partition(
        name=name,
        default=False,
        minutes=1440,
        barred="",
        preemptible=False,
        accounts=None,
        denied=frozenset(),
        qos=None,
        max_mem_mb=None,
        max_cpus=None,
        nodes=nodes,
    )
    return replace(plain, **changes)


def cluster(*partitions: Partition, **changes) -> Cluster:
    plain = Cluster(
        name="c",
        version="23.11.4",
        user="me",
        min_job_age=300,
        enforced=True,
        accounting="",
        default_account="mine",
        associations=(MINE,),
        qos_minutes={},
        partitions=partitions,
    )
    return replace(plain, **changes)


def chosen(*partitions: Partition, wanted: Wanted | None = None, **changes) -> Choice:
    return choose(cluster(*partitions, **changes), NEEDS, wanted or Wanted())


def warnings(*partitions: Partition, **changes) -> str:
    return "\n".join(chosen(*partitions, **changes).warnings)


def names(choice: Choice) -> tuple[str | None, str | None, str | None]:
    site = choice.site
    return site.pool("cpu").partition, site.pool("gpu").partition, site.pool("controller").partition


def test_a_plain_cluster_needs_no_warning():
    choice = chosen(partition("batch", CPU, default=True), partition("gpu", A100, A100))
    assert names(choice) == ("batch", "gpu", "batch")
    assert not choice.warnings
    gpu = choice.site.pool("gpu")
    assert (gpu.account, gpu.qos, gpu.gpu_model, gpu.gpus_per_node) == ("mine", None, None, 4)
    assert (gpu.max_minutes, gpu.max_mem_mb, gpu.max_cpus) == (1440, 256000, 32)
    assert choice.site.pool("cpu").gpus_per_node == 0


def test_partitions_too_short_preemptible_or_closed_are_passed_over():
    choice = chosen(
        partition("debug", CPU, CPU, CPU, minutes=30, default=True),
        partition("batch", CPU),
        partition("gpu-debug", *[A100] * 9, minutes=30),
        partition("scavenge", *[H100] * 9, preemptible=True),
        partition("theirs", *[H100] * 9, accounts=frozenset({"theirs"})),
        partition("down", *[H100] * 9, barred="state DOWN"),
        partition("a100", A100, A100, A100),
        partition("h100", H100),
    )
    assert names(choice) == ("batch", "a100", "batch")


def test_where_all_gpus_are_preemptible_they_are_taken_with_a_warning():
    both = (partition("batch", CPU), partition("scavenge", A100, preemptible=True))
    assert chosen(*both).site.pool("gpu").partition == "scavenge"
    assert "gpu: jobs in scavenge may be pre-empted" in warnings(*both)


def test_without_gpus_models_run_where_the_rest_does():
    choice = chosen(partition("small", CPU), partition("large", CPU, CPU))
    assert names(choice) == ("large", "large", "large")
    assert choice.site.pool("gpu").gpus_per_node == 0
    assert "gpu: large has no GPUs" in "\n".join(choice.warnings)


def test_the_controller_goes_where_a_day_is_allowed():
    choice = chosen(partition("batch", CPU, default=True, minutes=240), partition("long", CPU))
    assert names(choice) == ("batch", "batch", "long")
    assert chosen(partition("batch", CPU, minutes=240)).site.pool("controller").partition == "batch"


def test_a_partition_of_several_types_names_one_and_its_numbers():
    two = replace(A100, gpus={"a100": 2}, mem_mb=128000)
    gpu = chosen(partition("cpu", CPU), partition("gpu", A100, A100, two, H100)).site.pool("gpu")
    assert (gpu.gpu_model, gpu.gpus_per_node, gpu.max_mem_mb) == ("a100", 4, 256000)


def test_the_shortest_of_all_limits_counts():
    limited = replace(MINE, minutes=600)
    parts = (partition("cpu", CPU), partition("gpu", A100, max_mem_mb=100000, max_cpus=8))
    site = chosen(*parts, associations=(limited,), qos_minutes={"normal": 300}).site
    assert site.pool("cpu").max_minutes == 300
    assert site.pool("gpu").max_mem_mb == 100000
    assert site.pool("gpu").max_cpus == 8
    assert chosen(partition("cpu", CPU, minutes=None)).site.pool("cpu").max_minutes is None


def test_a_partition_for_a_qos_gets_the_one_that_the_user_has():
    gpu = partition("gpu", A100, qos=frozenset({"gpu-long", "staff"}))
    several = replace(MINE, qos=("normal", "gpu-long"))
    site = chosen(partition("cpu", CPU), gpu, associations=(several,)).site
    assert (site.pool("cpu").qos, site.pool("gpu").qos) == (None, "gpu-long")
    assert "for the QoS gpu-long, staff; you have normal" in warnings(partition("cpu", CPU), gpu)


def test_each_partition_is_charged_to_an_account_that_it_takes():
    other = Association("other", "", ("normal",), "", None)
    gpu = partition("gpu", A100, accounts=frozenset({"other"}))
    site = chosen(partition("cpu", CPU), gpu, associations=(MINE, other)).site
    assert (site.pool("cpu").account, site.pool("gpu").account) == ("mine", "other")
    only_gpu = replace(other, partition="gpu")
    site = chosen(partition("cpu", CPU), gpu, associations=(only_gpu, MINE)).site
    assert (site.pool("cpu").account, site.pool("gpu").account) == ("mine", "other")


def test_an_account_that_was_asked_for_is_taken_or_refused():
    other = Association("other", "", ("normal",), "", None)
    wanted = Wanted(account="other")
    site = chosen(partition("cpu", CPU), associations=(MINE, other), wanted=wanted).site
    assert site.pool("controller").account == "other"
    with pytest.raises(SettingsError, match=r"--account other: not yours .* you have mine"):
        chosen(partition("cpu", CPU), wanted=wanted)


def test_partitions_that_were_asked_for_are_taken_with_warnings_or_refused():
    parts = (partition("cpu", CPU), partition("tiny", CPU, minutes=5), partition("gpu", A100))
    choice = chosen(*parts, wanted=Wanted(("tiny",), ("tiny",)))
    assert names(choice)[:2] == ("tiny", "tiny")
    assert names(choice)[2] == "cpu"
    text = "\n".join(choice.warnings)
    assert "cpu: verify: asks for up to 60 minutes (cluster_profiles/stages.yaml), tiny" in text
    assert "gpu: tiny has no GPUs" in text
    with pytest.raises(SettingsError, match=r"--gpu-partition gpus: no such partition.*cpu, tiny"):
        chosen(*parts, wanted=Wanted(gpu_partitions=("gpus",)))
    barred = partition("cpu", CPU, barred="state DOWN")
    choice = chosen(barred, partition("gpu", A100), wanted=Wanted(("cpu",)))
    assert "cpu: the partition cpu is closed to you: state DOWN" in choice.warnings


def test_a_cluster_without_an_open_partition_says_why():
    with pytest.raises(SettingsError, match="open to you: cpu: state DOWN; gpu: not open to acc"):
        chosen(
            partition("cpu", CPU, barred="state DOWN"),
            partition("gpu", A100, denied=frozenset({"mine"})),
        )


def test_what_nodes_cannot_give_is_warned_of():
    small = replace(A100, cpus=2, mem_mb=6000, gpus={"a100": 1})
    text = warnings(partition("cpu", CPU), partition("gpu", small))
    assert "gpu: policy: asks for up to 8000 MB of memory" in text
    assert "gpu: policy: asks for up to 4 CPUs per node" in text
    assert "gpu: policy: asks for up to 2 GPUs per node" in text


def test_what_slurm_lacks_is_warned_of():
    parts = (partition("cpu", CPU), partition("gpu", A100))
    assert "forgets an ended job after 20 s" in warnings(*parts, min_job_age=20)
    assert not warnings(*parts, min_job_age=0), "it never forgets"
    assert "no accounting: it is off" in warnings(*parts, accounting="it is off", associations=())
    nobody = {"associations": (), "default_account": ""}
    assert "me has no account on this cluster: jobs will be refused" in warnings(*parts, **nobody)
    assert "refused" not in warnings(*parts, **nobody, enforced=False)


def test_the_file_says_what_each_key_means_and_reads_back(tmp_path):
    site = chosen(partition("on", CPU), partition("gpu:1", A100, H100)).site
    text = as_yaml(site)
    values = [line for line in text.splitlines() if not line.startswith("#")]
    assert all("  # " in line for line in values)
    path = tmp_path / "site.yaml"
    path.write_text(text)
    assert load_site(path) == site
    path.write_text(as_yaml(Site()))
    assert load_site(path) == Site()


def test_the_table_shows_partitions_and_reasons():
    whole = cluster(
        partition("cpu", CPU, replace(CPU, up=False), default=True),
        partition("gpu", A100, H100, minutes=None),
        partition("old", CPU, barred="state DOWN", preemptible=True),
    )
    text = described(whole, choose(whole, NEEDS, Wanted()))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "cpu* 2 16 64 GB - 1 d 1 of its nodes down or drained" in lines
    assert "gpu 2 32-64 256-512 GB 4 a100 | 8 h100 no limit" in lines
    assert "old 1 16 64 GB - 1 d state DOWN; pre-emptible" in lines
    assert "gpu gpu mine has GPUs (4 a100, 8 h100); jobs of any length" in lines


def test_two_partitions_of_a_kind_become_a_list_of_pools(tmp_path):
    wanted = Wanted(gpu_partitions=("old", "new"))
    choice = chosen(
        partition("cpu", CPU), partition("old", A100), partition("new", H100), wanted=wanted
    )
    assert [pool.partition for pool in choice.site.pools("gpu")] == ["old", "new"]
    path = tmp_path / "site.yaml"
    path.write_text(as_yaml(choice.site))
    assert load_site(path) == choice.site


def test_nodes_without_memory_in_slurms_view_are_not_asked_for_any():
    bare = replace(CPU, mem_mb=0)
    assert chosen(partition("cpu", bare)).site.pool("cpu").memory == "none"
    assert chosen(partition("cpu", bare, CPU)).site.pool("cpu").memory == "node"


def test_where_slurm_gives_whole_nodes_gpus_are_not_asked_for():
    choice = chosen(partition("gpu", A100), counts_gpus=False)
    assert choice.site.pool("gpu").gres is None
    assert choice.site.pool("gpu").gpu_option(4) is None
    assert choice.site.pool("gpu").whole_nodes
    assert any("select/linear" in warning for warning in choice.warnings)


def test_a_partition_that_gives_whole_nodes_is_said_to():
    whole = chosen(partition("cpu", CPU, exclusive=True), partition("gpu", A100))
    pools = [whole.site.pool(kind) for kind in ("cpu", "gpu")]
    assert [(pool.whole_nodes, pool.gres) for pool in pools] == [(True, "gpu"), (False, "gpu")]


def test_whole_gpus_come_before_more_of_their_slices():
    mixed = replace(A100, gpus={"a100_1g.5gb": 14, "a100": 2})
    assert chosen(partition("gpu", mixed)).site.pool("gpu").gpu_model == "a100"
    sliced = replace(A100, gpus={"1g.10gb": 7})
    choice = chosen(partition("gpu", sliced))
    assert choice.site.pool("gpu").gpus_per_node == 7
    assert any("one MIG device (1g.10gb) only" in warning for warning in choice.warnings)
    assert "MIG" not in warnings(partition("gpu", A100))


def test_a_cluster_that_shows_no_partitions_leaves_keys_to_fill_in():
    closed = {"nodes": "Access/permission denied", "partitions": "Access/permission denied"}
    hidden = cluster(closed=closed)
    choice = choose(hidden, NEEDS, Wanted(("batch",), ("accel",)))
    site = choice.site
    assert names(choice) == ("batch", "accel", "batch")
    assert {site.pool(kind).account for kind in ("cpu", "gpu", "controller")} == {"mine"}
    said = "\n".join(left_to_fill(hidden, site))
    assert "partitions: Access/permission denied" in said
    assert "cpu.max_minutes" in said
    assert "gpu.gpus_per_node" in said
    assert "cpu.gpus_per_node" not in said
    assert "partition," not in said.replace("partitions", ""), "these were given"
    assert "site.yaml.example" in said
    assert not list(left_to_fill(cluster(), site))


def test_the_committed_example_is_a_site_and_explains_every_key():
    text = (ROOT / EXAMPLE).read_text()
    site = load_site(ROOT / EXAMPLE)
    assert len(site.pools("gpu")) == 2
    for key in (*Pool.model_fields, *Site.model_fields):
        assert re.search(rf"^[ -]*{key}:", text, re.MULTILINE), key


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("CANCEL", "Slurm cancels them, the workflow submits them again"),
        ("REQUEUE", "Slurm requeues them, and they resume where they stopped"),
        ("SUSPEND", "Slurm suspends them"),
        ("", "they resume where they stopped"),
    ],
)
def test_what_a_preemption_does_to_jobs_is_said_for_partitions_and_for_qos(mode, words):
    low = partition("low", A100, preemptible=True, preempt_mode=mode)
    assert f"gpu: jobs in low may be pre-empted; {words}" in warnings(low)
    by_qos = warnings(partition("gpu", A100), preemptible_qos={"normal": mode})
    assert f"gpu: jobs of QoS normal may be pre-empted; {words}" in by_qos
    assert "pre-empted" not in warnings(partition("gpu", A100), preemptible_qos={"other": mode})
