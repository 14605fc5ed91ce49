"""`prime site` asks a real Slurm, chooses, and writes the site's file."""

import subprocess
import sys

import pytest

from prime_core.launch.site.site import load_site
from tests.slurm.lab import SlurmLab
from tests.support.shared_data import ROOT

pytestmark = pytest.mark.slow


def prime_site(lab: SlurmLab, *options: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "prime_core.cli.main", "site", *options)
    return subprocess.run(
        command, env=lab.env, cwd=ROOT, capture_output=True, text=True, timeout=100
    )


def test_a_site_is_surveyed_and_its_names_are_accepted_by_slurm(slurm, tmp_path):
    path = tmp_path / "site.yaml"
    done = prime_site(slurm, "--out", str(path))
    assert done.returncode == 0, done.stderr
    assert "cluster lab, user root" in done.stdout
    assert "pre-emptible" in done.stdout
    assert "warning" not in done.stdout
    site = load_site(path)
    assert (
        site.pool("cpu").partition,
        site.pool("gpu").partition,
        site.pool("controller").partition,
    ) == (*("cpu", "gpu", "cpu"),)
    assert site.pool("cpu").account == site.pool("gpu").account == "prime"
    assert (site.pool("gpu").gpus_per_node, site.pool("gpu").gpu_model) == (4, None)
    assert (
        site.pool("gpu").max_minutes,
        site.pool("gpu").max_mem_mb,
        site.pool("gpu").max_cpus,
    ) == (1440, 16000, 8)
    for pool in (site.pool("cpu"), site.pool("gpu")):
        job = subprocess.run(
            [
                *("srun", "--test-only", f"--partition={pool.partition}"),
                *(f"--account={pool.account}", f"--mem={pool.max_mem_mb}"),
                *(f"--time={pool.max_minutes}", f"--cpus-per-task={pool.max_cpus}"),
                *(f"--gres=gpu:{pool.gpus_per_node}", "true"),
            ],
            env=slurm.env,
            capture_output=True,
            text=True,
        )
        assert job.returncode == 0, job.stderr


def test_an_existing_file_is_kept_unless_asked(slurm, tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text("cpu: {partition: mine}\n")
    refused = prime_site(slurm, "--out", str(path))
    assert refused.returncode == 1
    assert refused.stderr == (
        f"prime site: error: {path}: exists; --force overwrites it, --dry-run only shows\n"
    )
    shown = prime_site(slurm, "--out", str(path), "--dry-run")
    assert "partition: gpu" in shown.stdout
    assert load_site(path).pool("cpu").partition == "mine"
    assert prime_site(slurm, "--out", str(path), "--force").returncode == 0
    assert load_site(path).pool("cpu").partition == "cpu"
    assert [entry.name for entry in tmp_path.iterdir()] == ["site.yaml"]


def test_other_partitions_can_be_asked_for(slurm, tmp_path):
    path = tmp_path / "site.yaml"
    options = ("--cpu-partition", "short", "--gpu-partition", "preempt", "--account", "root")
    done = prime_site(slurm, "--out", str(path), *options)
    site = load_site(path)
    assert (site.pool("cpu").partition, site.pool("gpu").partition) == ("short", "preempt")
    assert site.pool("controller").partition == "cpu", "two minutes are too short for it"
    assert site.pool("gpu").account == "root"
    assert "warning: gpu: jobs in preempt may be pre-empted" in done.stdout
    assert "short allows 2" in done.stdout
    wrong = prime_site(slurm, "--dry-run", "--gpu-partition", "gpus")
    assert wrong.stderr == (
        "prime site: error: --gpu-partition gpus: no such partition; "
        "expected one of cpu, short, gpu, preempt\n"
    )


def test_partitions_and_nodes_that_are_down_are_passed_over(slurm):
    def update(*what: str) -> None:
        subprocess.run(["scontrol", "update", *what], env=slurm.env, check=True)

    update("partitionname=gpu", "state=down")
    update("nodename=gpu2", "state=drain", "reason=test")
    try:
        done = prime_site(slurm, "--dry-run")
    finally:
        update("partitionname=gpu", "state=up")
        update("nodename=gpu2", "state=resume")
    assert "state DOWN" in done.stdout
    assert "1 of its nodes down or drained" in done.stdout
    assert "  partition: preempt" in done.stdout


def test_a_slurm_without_accounts_and_memory_is_warned_of(slurm, tmp_path):
    del slurm  # asked for so that all labs are started by one worker
    with SlurmLab(tmp_path / "lab", accounting=False, settings={"MinJobAge": 20}) as lab:
        done = prime_site(lab, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "forgets an ended job after 20 s" in done.stdout
    assert "no accounting: this Slurm keeps no accounting records" in done.stdout
    assert "account: null" in done.stdout


@pytest.mark.slow
def test_an_accounting_database_that_is_down_is_a_warning(slurm, tmp_path):
    slurm.stop("slurmdbd")
    done = prime_site(slurm, "--out", str(tmp_path / "site.yaml"))
    assert done.returncode == 0, done.stderr
    assert "warning: no accounting: sacctmgr" in done.stdout


@pytest.mark.slow
def test_a_slurm_that_does_not_answer_is_one_sentence(slurm, tmp_path):
    slurm.stop("slurmctld")
    done = prime_site(slurm, "--out", str(tmp_path / "site.yaml"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "prime site: error: scontrol" in done.stderr
    assert not (tmp_path / "site.yaml").exists()


def test_without_slurm_it_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "prime_core.cli.main", "site", "--out", str(tmp_path / "site.yaml")],
        env={"PATH": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "prime site: error: scontrol: no such command; is Slurm installed here?\n"
    )


def test_outside_of_the_repository_a_file_must_be_named(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "prime_core.cli.main", "site"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "run this in the repository's folder, or use --out" in done.stderr
