"""What stages ask for, placed on a site."""

from pathlib import Path

import pytest
import yaml

from prime_core.launch.site.site import Pool, Site
from prime_core.launch.site.stage_resources import (
    StageNeeds,
    load_stages,
    needs_of_run,
    stage_resources,
)
from prime_core.settings.reading import SettingsError, parse_settings
from tests.support.shared_data import ROOT

TABLE = ROOT / "cluster_profiles" / "stages.yaml"
SITE = Site(
    cpu=Pool(partition="cpu", max_mem_mb=10000),
    gpu=Pool(partition="gpu", account="prime", gpu_model="h100", gpus_per_node=4, max_minutes=100),
)
POLICY = StageNeeds(pool="gpu", gpus_per_node=1, mem_mb=8000, runtime=60)


def resources(**changes):
    return stage_resources("policy", POLICY.model_copy(update=changes), SITE)


def test_a_stage_goes_to_the_partition_of_its_pool():
    verify = stage_resources("verify", load_stages(TABLE)["verify"], SITE)
    assert verify["slurm_partition"] == "cpu"
    assert "gpu_count" not in verify
    assert resources()["slurm_partition"] == "gpu"
    assert resources()["gpu_count"] == 1


def test_memory_and_time_grow_with_attempts():
    wanted = resources()
    assert [wanted["mem_mb"](None, attempt) for attempt in (1, 2, 3)] == [8000, 16000, 24000]
    assert [wanted["runtime"](None, attempt) for attempt in (1, 2, 3)] == [60, 120, 180]


def test_a_training_stage_has_one_rank_a_gpu():
    assert "mpi" not in resources()
    four = resources(gpus_per_node=4)
    assert (four["gpu_count"], four["nodes"], four["tasks_per_node"]) == (4, 1, 4)
    eight = resources(gpus_per_node=4, nodes=2)
    assert eight["gpu_count"] == 8
    assert (eight["nodes"], eight["tasks_per_node"], eight["mpi"]) == (2, 4, "srun")


def test_one_rank_on_each_of_two_nodes_is_asked_for_as_tasks():
    two = resources(nodes=2, tasks_per_node=1)
    assert (two["nodes"], two["tasks"]) == (2, 2)
    assert "tasks_per_node" not in two


def test_a_site_without_gpus_runs_everything_on_processors():
    placed = stage_resources("policy", POLICY, Site())
    assert not {"gpu", "gpu_count", "gres", "slurm_partition"} & set(placed)


@pytest.mark.parametrize("resource", ["gpu", "gpus", "gpu_model", "nvidia_gpu", "tasks_per_gpu"])
def test_nothing_is_asked_for_that_the_plugin_would_spell_as_gpus(resource):
    assert resource not in resources(gpus_per_node=4, nodes=2)


def test_of_several_pools_a_stage_is_shown_in_the_first_that_has_its_gpus():
    site = Site(
        gpu=[Pool(partition="small", gpus_per_node=2), Pool(partition="large", gpus_per_node=8)]
    )
    eight = POLICY.model_copy(update={"gpus_per_node": 8})
    assert stage_resources("policy", POLICY, site)["slurm_partition"] == "small"
    assert stage_resources("policy", eight, site)["slurm_partition"] == "large"
    with pytest.raises(SettingsError, match="the site's nodes have 8"):
        stage_resources("policy", POLICY.model_copy(update={"gpus_per_node": 9}), site)


def test_more_gpus_than_a_node_has_are_refused():
    with pytest.raises(SettingsError, match=r"policy.gpus_per_node 8, but the site's nodes have 4"):
        resources(gpus_per_node=8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": None}, "policy"),
        ({"polycy": {"pool": "gpu", "mem_mb": 1, "runtime": 1}}, "polycy: no such stage"),
        ({"sample": {"pool": "gpu", "mem_mb": 1, "runtime": 1, "nodes": 2}}, "num_shards"),
        ({"verify": {"pool": "cpu", "mem_mb": 1, "runtime": 1, "hours": 2}}, "verify.hours"),
    ],
)
def test_a_wrong_table_is_refused_by_file_and_key(tmp_path: Path, change, message):
    table = yaml.safe_load(TABLE.read_text()) | change
    path = tmp_path / "stages.yaml"
    path.write_text(yaml.safe_dump(table))
    with pytest.raises(SettingsError, match=message) as error:
        load_stages(path)
    assert str(path) in str(error.value)


def test_a_missing_stage_and_a_missing_file_are_refused(tmp_path: Path):
    path = tmp_path / "stages.yaml"
    with pytest.raises(SettingsError, match="no such file"):
        load_stages(path)
    path.write_text("policy: {pool: gpu, mem_mb: 1, runtime: 1}\n")
    with pytest.raises(SettingsError, match="the stage 'build' is missing"):
        load_stages(path)


def test_a_table_older_than_a_stage_gives_it_the_row_of_the_one_that_it_is_like(tmp_path: Path):
    old = ("build", "prepare", "sft", "sample", "verify", "select", "score", "prm", "policy")
    table = yaml.safe_load(TABLE.read_text())
    path = tmp_path / "stages.yaml"
    path.write_text(yaml.safe_dump({name: table[name] for name in (*old, "evaluate", "report")}))
    found = load_stages(path)
    assert set(found) == set(load_stages(TABLE))
    assert found["value"] == found["prm_data"] == found["prm"]  # prm_data is like prm_offline
    assert found["values"] == found["score"]
    assert found["difficulty"] == found["sample"]


def test_verification_by_a_model_asks_for_the_gpus_of_sampling():
    judge = {"path": "judge", "prompt": "p.txt"}
    rules = parse_settings({}, "test")
    model = parse_settings({"verification.judge": judge}, "test")
    table = load_stages(TABLE)
    assert needs_of_run(table, rules) == table
    for stage in ("verify", "step_values"):
        needs = needs_of_run(table, model)[stage]
        assert (needs.pool, needs.gpus_per_node) == ("gpu", table["sample"].gpus_per_node)
        assert needs.cpus_per_task == table[stage].cpus_per_task
        assert needs.mem_mb == table[stage].mem_mb + table["sample"].mem_mb
    own = table | {"verify": table["policy"], "step_values": table["policy"]}
    assert needs_of_run(own, model) == own
