"""GPUs of one allocation, each for one stage at a time."""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prime_core.launch.slurm.gpus import taker, visible_devices
from tests.support.workflow_runs import command

PRIME = [sys.executable, "-m", "prime_core.cli.main", "gpus"]


def environment(tmp_path: Path, devices: str) -> dict[str, str]:
    return os.environ | {"CUDA_VISIBLE_DEVICES": devices, "TMPDIR": str(tmp_path)}


def hold(tmp_path: Path, devices: str, count: int, seconds: float = 30) -> subprocess.Popen[str]:
    """A stage that says which GPUs it has, and keeps them."""
    command = f"echo $CUDA_VISIBLE_DEVICES; exec sleep {seconds}"
    return subprocess.Popen(
        [*PRIME, str(count), "bash", "-c", command],
        env=environment(tmp_path, devices),
        stdout=subprocess.PIPE,
        text=True,
    )


def devices_of(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().strip().split(",")


@pytest.fixture
def stages():
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_stages_side_by_side_have_different_gpus(tmp_path, stages):
    stages += [hold(tmp_path, "2,3,5,7", count) for count in (1, 2, 1)]
    given = [devices_of(process) for process in stages]
    assert [len(devices) for devices in given] == [1, 2, 1]
    assert sorted(itertools.chain(*given)) == ["2", "3", "5", "7"]


def test_gpus_are_free_again_when_a_stage_ends_however_it_ends(tmp_path, stages):
    first = hold(tmp_path, "0", 1)
    assert devices_of(first) == ["0"]
    second = hold(tmp_path, "0", 1)
    stages += [first, second]
    time.sleep(1.0)
    assert second.poll() is None
    first.kill()
    assert devices_of(second) == ["0"]


def test_gpus_stay_taken_while_a_process_of_the_stage_lives(tmp_path, stages):
    command = "echo $CUDA_VISIBLE_DEVICES; sleep 2 & exit 0"
    parent = [*PRIME, "1", "bash", "-c", command]
    begun = time.monotonic()
    with (tmp_path / "out").open("w") as out:
        subprocess.run(parent, env=environment(tmp_path, "0"), stdout=out, check=True)
    stages.append(hold(tmp_path, "0", 1))
    assert devices_of(stages[0]) == ["0"]
    assert time.monotonic() - begun > 2


def test_more_gpus_than_there_are_are_refused_with_a_sentence(tmp_path):
    done = subprocess.run(
        [*PRIME, "3", "true"], env=environment(tmp_path, "0,1"), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "asked for 3 GPUs, found CUDA_VISIBLE_DEVICES=0,1" in done.stderr


def test_a_command_takes_gpus_only_where_it_would_see_others():
    two = {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "GPU-a, GPU-b"}) == ["GPU-a", "GPU-b"]
    assert taker({"gpu_count": 1}, two) == "prime gpus 1 "
    assert taker({"gpu_count": 2}, two) == taker({}, two) == taker({"gpu_count": 1}, {}) == ""


@pytest.mark.slow
def test_the_rules_take_gpus_where_stages_share_a_node(tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text("gpu: {gpus_per_node: 2}\n")
    done = subprocess.run(
        command(tmp_path, "--dry-run", "--printshellcmds", "--quiet", "progress"),
        env=environment(tmp_path, "0,1") | {"PRIME_SITE": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    for stage in ("sft", "sample", "score", "prm", "policy", "evaluate"):
        assert f"prime gpus 1 prime {stage} " in said
    for stage in ("build", "verify", "select", "report"):
        assert f"gpus 1 prime {stage} " not in said
