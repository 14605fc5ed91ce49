"""`prime launch`, `status`, `logs`, `cancel` on a real Slurm: a workflow that is itself a job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

from prime_core.run.job_records import (
    StageStop,
    controller_name,
    controller_starts,
    record_stop,
    slurm_name,
    stage_stops,
    submitted_jobs,
)
from prime_core.run.layout import TRAINING_STATE, RunFiles
from prime_core.runtime.run_lock import RunLock
from tests.slurm.lab import SlurmLab
from tests.slurm.users_variables import HOSTILE
from tests.slurm.workflow_on_slurm import write_site
from tests.support.processes import paused
from tests.support.shared_data import ROOT
from tests.support.workflow_runs import TINY, environment, run_well

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ALLOCATION = {
    "nodes": 1,
    "gpus_per_node": 2,
    "cpus_per_task": 2,
    "mem_gb": 8,
    "minutes": 30,
    "reserve_minutes": 10,
    "fast_storage_gb": 1,
}


class Launched:
    """A run of TINY in a folder, driven by `prime launch`."""

    def __init__(self, folder: Path, lab: SlurmLab, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings
        self.files = RunFiles(folder / "results" / settings["run"])
        self.env = lab.env | environment() | write_site(folder)
        (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
        (folder / "allocation.yaml").write_text(yaml.safe_dump(ALLOCATION))

    def prime(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command, as a user would in the repository."""
        command = [sys.executable, "-m", "prime_core.cli.main", *words]
        env = self.env | HOSTILE
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)

    def launch(self, *options: str) -> str:
        """Launch; returns the job's number."""
        done = self.try_launch(*options)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[2]

    def try_launch(self, *options: str) -> subprocess.CompletedProcess[str]:
        place = ("--directory", str(self.folder))
        return self.prime(
            "launch", *options, *place, "--configfile", str(self.folder / "settings.yaml")
        )

    def status(self) -> dict[str, Any]:
        return json.loads(self.ask("status", "--json"))

    def ask(self, *words: str) -> str:
        """What `prime status` and the like say of the run."""
        done = self.prime(*words, "--run", str(self.files.root))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wait_for(self, what: Callable[[], object], seconds: float = 600) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, self.log()
            time.sleep(0.5)

    def wait_for_end(self, job_id: str) -> None:
        """Until the controller's job has left the queue; it has finished the run."""
        self.wait_for(lambda: self.state(job_id) not in ("PENDING", "RUNNING", "COMPLETING"))
        assert self.state(job_id) == "COMPLETED", self.log()
        assert self.files.report.exists()

    def is_training(self) -> bool:
        """Whether the warm-up takes its steps."""
        log = self.files.root / "logs" / "sft.log"
        return log.exists() and "step/s" in log.read_text()

    def warm_up_paused(self) -> AbstractContextManager[None]:
        """Within, the warm-up stands still: on a loaded machine it would be over too soon."""
        return paused(self.folder, "sft", "--run")

    def state(self, job_id: str) -> str:
        return self.squeue("--jobs", job_id, "--format=%T", "--states=all")

    def squeue(self, *options: str) -> str:
        command = ["squeue", "--noheader", *options]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True)
        return done.stdout.strip()

    def signal(self, job_id: str, *options: str) -> None:
        subprocess.run(["scancel", *options, job_id], env=self.env, check=True)

    def log(self) -> str:
        """The controller's log."""
        logs = sorted(self.files.controller_folder.glob("*_log.out"))
        return logs[-1].read_text() if logs else "no log"


@pytest.fixture
def short_run(slurm: SlurmLab, tmp_path: Path) -> Launched:
    """No iterations: a warm-up of some seconds, an evaluation, the report."""
    changes = {"iterations": 0, "sft": TINY["sft"] | {"num_steps": 1500}}
    return Launched(tmp_path, slurm, TINY | changes)


def test_a_launched_run_is_seen_cancelled_launched_again_and_survives_a_requeue(
    short_run: Launched,
) -> None:
    run = short_run
    run_well(run.folder, "--until", "prepare", settings=run.settings)
    first = run.launch()
    run.wait_for(run.is_training)
    with run.warm_up_paused():
        _sees_the_run_at_work(run, first)

        refused = run.try_launch()
        assert refused.returncode == 1
        assert f"already has a controller: job {first}, running on cpu1" in refused.stderr

        assert "cancelled stage jobs" in run.ask("cancel", "--yes")
    assert run.squeue() == ""
    assert "nothing drives this run" in run.ask("status")
    assert "nothing is running" in run.ask("cancel")

    second = run.launch()
    run.wait_for(lambda: len(submitted_jobs(run.files)) == 2)
    with run.warm_up_paused():
        run.signal(second, "--signal=USR2")
        run.wait_for(lambda: "requeued; resumes" in run.log())
        waits = "waiting for Slurm jobs that an earlier launch left running"
        run.wait_for(lambda: waits in run.log())
    run.wait_for_end(second)
    stages = [job.stage for job in submitted_jobs(run.files)]
    assert stages == ["sft", "sft", "evaluate", "report"]
    assert "finished" in run.ask("status")


def _sees_the_run_at_work(run: Launched, controller: str) -> None:
    status = run.status()
    assert status["controller"]["state"] == "running"
    assert status["controller"]["slurm_job"] == controller
    assert 86000 < status["controller"]["left"] <= 86400
    (work,) = status["at_work"]
    assert work["stage"]["name"] == "sft"
    assert (work["state"], work["nodes"]) == ("running", "gpu1")
    assert work["limit"] == 120 * 60
    text = run.ask("status")
    assert f"controller: Slurm job {controller} on cpu1, running since" in text
    assert f"  sft    running  {work['slurm_job']:>3}  gpu1" in text
    assert "step/s" in run.ask("logs", "sft")
    assert "prime launch: job" in run.ask("logs")
    # Jobs of stages bear one name, the controller another.
    assert run.squeue("--name", slurm_name(run.files.root), "--format=%i") == work["slurm_job"]
    assert run.squeue("--name", controller_name(run.files.root), "--format=%i") == controller


def test_one_allocation_stops_a_stage_leaves_another_and_goes_on_in_the_next(
    slurm: SlurmLab, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"iterations": 1, "sft": TINY["sft"] | {"num_steps": 1500}}
    changes["training"] = {"state_storage": "memory"}
    run = Launched(tmp_path, slurm, TINY | changes)
    size = ("--profile", "allocation", "--allocation", str(tmp_path / "allocation.yaml"))
    job = run.launch(*size)

    run.wait_for(run.is_training)
    (work,) = run.status()["at_work"]
    assert work["stage"]["name"] == "sft"
    assert work["slurm_job"] == job
    run.signal(job, "--signal=USR2")
    run.wait_for(lambda: len(controller_starts(run.files)) == 2)
    # Slurm has signalled the stage as well: it may have stopped before it was asked to.
    assert "sft: stopped at step" in run.log()

    _let_selection_take_longer_than_is_left(run)
    run.wait_for(lambda: len(controller_starts(run.files)) == 3)
    assert "deferred to the next allocation: select 1" in run.log()
    assert "resuming after step" in run.ask("logs", "sft")

    run.wait_for_end(job)
    assert [(stop.stage, stop.seconds > 0) for stop in stage_stops(run.files)] == [
        ("select", True),
        ("select", False),
    ]
    assert {start.gpus for start in controller_starts(run.files)} == {2}
    assert not submitted_jobs(run.files)
    evaluated = run.ask("logs", "1", "evaluate")
    storage = tmp_path / "fast" / f"prime-{os.getuid()}-{job}"
    assert f"iterations/0001/policy are read from {storage}/" in evaluated
    for model in ("policy", "prm"):
        assert run.files.metrics(1, f"save_state-{model}").exists()
        assert (run.files.weights(model, 1) / TRAINING_STATE).is_dir()
    assert not storage.exists()


def _let_selection_take_longer_than_is_left(run: Launched) -> None:
    """As if it had once been cut off: it will not fit now, and will in a fresh allocation."""
    run.wait_for((run.files.root / "metrics" / "sft.json").exists)
    now, begun = time.time(), controller_starts(run.files)[-1].started
    whole = 60 * (ALLOCATION["minutes"] - ALLOCATION["reserve_minutes"])
    needed = begun + whole - now - 2
    record_stop(run.files, StageStop("select", 9, "", needed / 1.2, begun - 1))


def test_a_stage_that_fails_ends_the_allocation(slurm: SlurmLab, tmp_path: Path) -> None:
    arithmetic = TINY["data"]["arithmetic"] | {"num_validation": 10_000}  # there are not so many
    changes = {"iterations": 0, "data": {"arithmetic": arithmetic}}
    run = Launched(tmp_path, slurm, TINY | changes)
    job = run.launch("--profile", "allocation", "--allocation", str(tmp_path / "allocation.yaml"))
    run.wait_for(lambda: run.state(job) in ("FAILED", "COMPLETED"))
    assert run.state(job) == "FAILED"
    assert len(controller_starts(run.files)) == 1
    text = run.ask("status")
    assert "not finished: prepare" in text
    assert "10000" in " ".join(text.split())


def test_an_allocation_ends_with_the_budget(slurm: SlurmLab, tmp_path: Path) -> None:
    seconds = 50  # less than a stage that never ran is expected to take
    budget = {"max_gpu_hours": ALLOCATION["gpus_per_node"] * seconds / 3600}
    run = Launched(tmp_path, slurm, TINY | budget)
    job = run.launch("--profile", "allocation", "--allocation", str(tmp_path / "allocation.yaml"))
    run.wait_for(lambda: run.state(job) == "FAILED")
    assert [stop.stage for stop in stage_stops(run.files)] == ["build"]
    assert "too little is left to continue; raise it and launch again" in run.log()
    assert len(controller_starts(run.files)) == 1


def test_a_run_that_another_workflow_holds_is_not_launched(slurm: SlurmLab, tmp_path: Path) -> None:
    run = Launched(tmp_path, slurm, TINY)
    lock = RunLock(run.files.root)
    lock.take()
    refused = run.try_launch()
    lock.release()
    assert refused.returncode == 1
    assert (
        f"another workflow is running in {run.files.root} (process {os.getpid()}" in refused.stderr
    )


def test_what_slurm_refuses_is_said_in_one_sentence(slurm: SlurmLab, tmp_path: Path) -> None:
    run = Launched(tmp_path, slurm, TINY)
    run.env |= write_site(tmp_path, controller={"partition": "nowhere"})
    refused = run.try_launch()
    assert refused.returncode == 1
    assert "prime launch: error: sbatch: " in refused.stderr
    assert "invalid partition specified: nowhere" in refused.stderr
