"""The throw-away Slurm does what the tests of this folder ask of it."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.slurm import users
from tests.slurm.lab import LabError, SlurmLab, missing
from tests.slurm.mounts import laid_over, opened

pytestmark = pytest.mark.slow


def output(lab: SlurmLab, *command: str) -> str:
    done = subprocess.run(command, env=lab.env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def submit(lab: SlurmLab, script: str, folder: Path, *options: str) -> str:
    """Number of a batch job."""
    log = f"--output={folder}/%j.out"
    command = ("sbatch", "--parsable", "--mem=100", log, *options, "--wrap", script)
    return output(lab, *command).strip()


def state(lab: SlurmLab, job: str) -> str:
    return output(lab, "squeue", "--noheader", "--states=all", "--format=%T", "--jobs", job).strip()


def wait_until(condition: Callable[[], bool], seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def test_three_nodes_are_idle_in_their_partitions(slurm):
    lines = output(slurm, "sinfo", "-h", "-N", "-o", "%N %R %t %G %a").splitlines()
    assert sorted(lines) == [
        "cpu1 cpu idle (null) up",
        "cpu1 short idle (null) up",
        "gpu1 gpu idle gpu:h100:4 up",
        "gpu1 preempt idle gpu:h100:4 up",
        "gpu2 gpu idle gpu:h100:4 up",
        "gpu2 preempt idle gpu:h100:4 up",
    ]


def test_a_job_over_two_nodes_has_two_ranks_and_sees_its_gpus(slurm):
    said = output(
        slurm,
        *("srun", "--partition=gpu", "-N2", "-n2", "--gres=gpu:2", "--mem=100", "sh", "-c"),
        "echo $SLURM_PROCID $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES",
    )
    assert sorted(said.splitlines()) == ["0 gpu1 0,1", "1 gpu2 0,1"]


def test_names_of_nodes_resolve(slurm):
    assert output(slurm, "getent", "hosts", "gpu2").split()[0] == "127.0.0.1"


def test_a_finished_job_is_accounted_with_its_gpus(slurm, tmp_path):
    job = submit(slurm, "true", tmp_path, "--partition=gpu", "--gres=gpu:1", "--comment=why")
    fields = "State,Account,Comment,AllocTRES"
    sacct = ("sacct", "-nXP", f"--jobs={job}", f"--format={fields}")
    wait_until(lambda: output(slurm, *sacct).startswith("COMPLETED"))
    done, account, comment, tres = output(slurm, *sacct).strip().split("|")
    assert (done, account, comment) == ("COMPLETED", "prime", "why")
    assert "gres/gpu=1" in tres


def test_a_job_above_its_memory_is_killed(slurm, tmp_path):
    hog = f"{sys.executable} -c 'x = bytearray(400 << 20); import time; time.sleep(60)'"
    job = submit(slurm, hog, tmp_path)
    wait_until(lambda: state(slurm, job) in ("FAILED", "OUT_OF_MEMORY"))
    assert "memory" in (tmp_path / f"{job}.out").read_text()


def test_a_requeued_job_starts_again_within_seconds(slurm, tmp_path):
    job = submit(slurm, f"echo start >> {tmp_path}/starts; sleep 60", tmp_path)
    starts = tmp_path / "starts"
    wait_until(starts.exists)
    output(slurm, "scontrol", "requeue", job)
    begin = time.monotonic()
    wait_until(lambda: starts.read_text().count("start") == 2)
    assert time.monotonic() - begin < 100, "Slurm's own pause before a requeued job is 120 s"


def test_the_job_of_a_node_that_dies_runs_again_when_it_is_back(slurm, tmp_path):
    ticking = f"echo start >> {tmp_path}/starts; while sleep 0.2; do date >> {tmp_path}/ticks; done"
    job = submit(slurm, ticking, tmp_path)
    ticks = tmp_path / "ticks"
    wait_until(ticks.exists)
    slurm.kill_node("cpu1")
    size = ticks.stat().st_size
    wait_until(lambda: state(slurm, job) == "PENDING")
    assert ticks.stat().st_size - size < 100
    slurm.start("slurmd-cpu1")
    wait_until(lambda: (tmp_path / "starts").read_text().count("start") == 2)
    assert state(slurm, job) == "RUNNING"


def test_a_job_of_lower_priority_gives_way_and_returns(slurm, tmp_path):
    (tmp_path / "step").write_text(
        f"trap 'echo warned >> {tmp_path}/story' TERM\n"
        f"echo start >> {tmp_path}/story\n"
        "while :; do sleep 0.2; done\n"
    )
    both = ("--partition=preempt", "-N2", "--exclusive", "--requeue")
    job = submit(slurm, f"srun --overlap -n1 -N1 sh {tmp_path}/step", tmp_path, *both)
    story = tmp_path / "story"
    wait_until(lambda: story.exists() and story.read_text().count("start") == 1)
    urgent = submit(slurm, "sleep 1", tmp_path, "--partition=gpu", "-N2", "--exclusive")
    wait_until(lambda: state(slurm, urgent) == "COMPLETED")
    wait_until(lambda: story.read_text().count("start") == 2)
    assert "warned" in story.read_text()
    assert state(slurm, job) == "RUNNING"


def test_slurmctld_dies_and_jobs_go_on(slurm, tmp_path):
    job = submit(slurm, f"until [ -e {tmp_path}/go ]; do sleep 0.2; done", tmp_path)
    wait_until(lambda: state(slurm, job) == "RUNNING")
    slurm.wait_until_saved(job)
    slurm.kill("slurmctld")
    assert not slurm.is_alive("slurmctld")
    slurm.start("slurmctld")
    (tmp_path / "go").touch()
    wait_until(lambda: state(slurm, job) == "COMPLETED")


def test_two_labs_run_at_once_and_leave_nothing_behind(slurm, tmp_path):
    mounts = Path("/proc/mounts").read_text()
    submit(slurm, "sleep 30", tmp_path)
    folder = tmp_path / "other"
    job = "sbatch --parsable -o /dev/null --wrap 'setsid sleep 300 & sleep 300'"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.slurm.lab", "--no-accounting"),
            *("--folder", str(folder), "--", "sh", "-c", f"{job}; sleep 1; squeue -h; exit 7"),
        ],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 7, done.stderr
    number, *queue = done.stdout.splitlines()
    assert number == "1"
    assert len(queue) == 1, "only its own job is seen"
    assert len(output(slurm, "squeue", "-h").splitlines()) == 1
    assert Path("/proc/mounts").read_text() == mounts
    here = {p.pid for p in psutil.process_iter() if "/other/" in " ".join(_command(p))}
    assert not here
    assert not [p for p in psutil.process_iter() if _command(p) == ["sleep", "300"]]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_lab_inside_a_lab_gives_the_outer_one_back(slurm, tmp_path):
    outer = Path("/etc/slurm/slurm.conf").read_text()
    folder = Path.cwd()
    with SlurmLab(tmp_path / "inner", accounting=False, settings={"MinJobAge": 17}) as inner:
        assert "MinJobAge=17" in Path("/etc/slurm/slurm.conf").read_text()
        config = output(inner, "scontrol", "show", "config")
        assert re.search(r"MinJobAge\s+= 17 sec", config)
    assert Path("/etc/slurm/slurm.conf").read_text() == outer
    assert Path.cwd() == folder
    assert "cpu1" in output(slurm, "sinfo")


def test_a_daemon_that_cannot_start_shows_the_end_of_its_log(slurm, tmp_path):
    with (
        pytest.raises(LabError, match=r"slurmctld ended at once:\n(?s:.*)select/none_such"),
        SlurmLab(tmp_path / "wrong", accounting=False, settings={"SelectType": "select/none_such"}),
    ):
        pass
    assert "cpu1" in output(slurm, "sinfo"), "the outer lab is there again"


def test_a_lab_whose_folder_is_deleted_ends_all_the_same(slurm, tmp_path):
    with pytest.raises(FileNotFoundError), SlurmLab(tmp_path / "lost", accounting=False) as lab:
        shutil.rmtree(lab.folder)
    assert not any(lab.is_alive(daemon) for daemon in lab.daemons)
    assert "cpu1" in output(slurm, "sinfo"), "the outer lab is there again"


@pytest.mark.usefixtures("slurm")
def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="expected an empty folder"), SlurmLab(tmp_path):
        pass


@pytest.mark.usefixtures("slurm")
def test_mounts_are_seen_inside_only(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "theirs").write_text("theirs")
    with laid_over({tmp_path / "theirs": tmp_path / "mine"}):
        assert (tmp_path / "theirs").read_text() == "mine"
    assert (tmp_path / "theirs").read_text() == "theirs"


@pytest.mark.usefixtures("slurm")
def test_what_lies_in_a_closed_home_is_shown_to_other_users(tmp_path):
    home = tmp_path / "home"
    inner = home / "inner"
    inner.mkdir(parents=True)
    (inner / "program").write_text("#!/bin/sh\necho reached\n")
    (inner / "program").chmod(0o755)
    (inner / "link").symlink_to("program")
    (home / "file").write_text("a file")
    for folder in (home, inner):
        folder.chmod(0o700)
    command = users.as_user(["sh", "-c", f"{inner}/link && cat {home}/file"])
    with laid_over(opened([inner / "program"], tmp_path / "spare")):
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == "reached\na file"
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "ermission denied" in refused.stderr
    assert home.stat().st_mode & 0o777 == 0o700


def test_what_is_missing_is_named_by_package(monkeypatch):
    monkeypatch.setattr("tests.slurm.lab._PATH", "/nowhere")
    assert re.search(r"Debian's packages mariadb-server, munge, slurm-client", missing())
    monkeypatch.setattr("tests.slurm.lab._PATH", os.environ["PATH"] + ":/usr/sbin")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "needs root" in missing() or "packages" in missing()
