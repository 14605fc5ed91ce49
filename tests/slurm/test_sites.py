"""Clusters set up in other ways: whole nodes, no memory, closed questions, several pools."""

import subprocess
import sys
from pathlib import Path

import pytest

from prime_core.launch.site.site import Pool, load_site
from prime_core.run.job_records import submitted_jobs
from tests.slurm import users
from tests.slurm.lab import SlurmLab
from tests.slurm.small_workflow import SmallWorkflow
from tests.support.shared_data import ROOT

pytestmark = pytest.mark.slow

DEVICES = "echo devices=$CUDA_VISIBLE_DEVICES"
SHOW = "env -u SLURM_JOBID scontrol --oneliner show job $SLURM_JOB_ID"


def finish(work: SmallWorkflow, lab: SlurmLab) -> str:
    """Run it to its end; what its job wrote into its log."""
    running = work.write().start(env=lab.env)
    assert running.wait() == 0, running.said()
    return (work.files.root / "logs" / "1-0.log").read_text()


def prime_site(lab: SlurmLab, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """As the lab's ordinary user, whose folder it is."""
    command = (sys.executable, "-m", "prime_core.cli.main", "site", *options)
    return subprocess.run(
        users.as_user([*command, "--out", str(folder / "site.yaml")]),
        env=users.environment(lab.env, folder / "home"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.usefixtures("slurm")
def test_where_slurm_gives_whole_nodes_a_site_is_surveyed_and_its_jobs_run(tmp_path: Path):
    whole = {"SelectType": "select/linear", "SelectTypeParameters": "CR_Memory"}
    with SlurmLab(tmp_path / "lab", accounting=False, settings=whole) as lab:
        done = prime_site(lab, tmp_path)
        assert done.returncode == 0, done.stderr
        (pool,) = load_site(tmp_path / "site.yaml").pools("gpu")
        assert (pool.gres, pool.gpus_per_node, pool.memory) == (None, 4, "node")
        work = SmallWorkflow(
            tmp_path / "work", (1,), command=SHOW, partition="gpu", pools=[pool], gpus=2
        )
        assert "NodeList=gpu" in finish(work, lab)


@pytest.mark.usefixtures("slurm")
def test_where_nodes_have_no_memory_none_is_asked_for(tmp_path: Path):
    cores = {"SelectTypeParameters": "CR_Core"}
    with SlurmLab(tmp_path / "lab", accounting=False, settings=cores, memory=False) as lab:
        done = prime_site(lab, tmp_path)
        assert done.returncode == 0, done.stderr
        (pool,) = load_site(tmp_path / "site.yaml").pools("cpu")
        assert (pool.memory, pool.max_mem_mb) == ("none", None)
        finish(SmallWorkflow(tmp_path / "work", (1,), pools=[pool]), lab)


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize("data", ["nodes", "nodes,partitions"])
def test_a_user_who_may_not_ask_gets_a_file_to_fill_in(tmp_path: Path, data: str):
    with SlurmLab(tmp_path / "lab", accounting=False, settings={"PrivateData": data}) as lab:
        done = prime_site(lab, tmp_path, "--cpu-partition", "cpu", "--gpu-partition", "gpu")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "nodes: slurm_load_node error: Access/permission denied" in done.stdout
    assert "Left for you to fill in: " in done.stdout
    found = load_site(tmp_path / "site.yaml")
    assert (found.pool("cpu").partition, found.pool("gpu").partition) == ("cpu", "gpu")
    # The partitions' totals say how much a node has, where those may be seen.
    if data == "nodes":
        assert (found.pool("gpu").max_minutes, found.pool("gpu").max_cpus) == (1440, 8)


def test_a_whole_node_is_taken_and_a_job_still_sees_the_gpus_that_it_asked_for(slurm, tmp_path):
    pool = Pool(
        partition="gpu", gpu_model="h100", gpus_per_node=4, memory="cpu", extra=["--exclusive"]
    )
    work = SmallWorkflow(
        tmp_path, (1,), command=f"{DEVICES}; {SHOW}", partition="gpu", pools=[pool], gpus=2
    )
    said = finish(work, slurm)
    assert "devices=0,1\n" in said
    assert "MinMemoryCPU=400M" in said
    assert "NumCPUs=8" in said, "the whole node"
    assert "gpu:h100:2" in said
    assert [job.gpus for job in submitted_jobs(work.files)] == [2]


def test_a_job_goes_to_the_pool_where_it_starts_first(slurm, tmp_path):
    pools = [Pool(partition=name, gpus_per_node=4, max_mem_mb=500) for name in ("gpu", "preempt")]
    work = SmallWorkflow(tmp_path, (1,), command=SHOW, partition="gpu", pools=pools, gpus=1)
    change = ["scontrol", "update", "partitionname=gpu"]
    subprocess.run([*change, "state=down"], env=slurm.env, check=True)
    try:
        assert "Partition=preempt" in finish(work, slurm)
    finally:
        subprocess.run([*change, "state=up"], env=slurm.env, check=True)
