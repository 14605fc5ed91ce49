"""What can happen to a run on Slurm, each kind with how it strikes and how it is put right."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.commands import QueuedJob
from prime_core.run.job_records import slurm_name
from tests.slurm.lab import SlurmLab
from tests.slurm.users_variables import HOSTILE
from tests.slurm.workflow_on_slurm import slurm_command, write_site
from tests.support.shared_data import ROOT
from tests.support.workflow_runs import environment

RUN = Path("results") / "tiny"


@dataclass
class Trial:
    """One run under way, started again where it ended."""

    lab: SlurmLab
    place: Path
    rng: random.Random
    settings: dict[str, Any]
    fault: Fault
    starts: int = 0
    status: int | None = None
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Give the command (again)."""
        self.environment = environment() | HOSTILE | write_site(self.place)
        stages = {stage: dict(numbers) for stage, numbers in self.fault.stages.items()}
        command = slurm_command(self.place, self.settings, *self.fault.options, stages=stages)
        if self.fault.launched:
            command = launched(command)
        with (self.place / "workflow.log").open("ab") as log:
            self.process = subprocess.Popen(
                # `prime launch` finds its profiles in the repository
                command,
                env=self.environment,
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )
        self.starts, self.status = self.starts + 1, None

    def wait(self, timeout: float = 900.0) -> None:
        """Wait for the end of the workflow, whatever it is."""
        assert self.process is not None
        self.status = self.process.wait(timeout)
        if self.fault.launched:
            self._wait_for_controller(timeout)

    def running_job(self) -> QueuedJob:
        """A job of the run at work now; waited for up to a minute."""
        for _ in range(600):
            jobs = slurm.jobs_named(slurm_name(self.place / RUN))
            running = [job for job in jobs if job.state == "RUNNING"]
            if running:
                return self.rng.choice(running)
            time.sleep(0.1)
        raise RuntimeError("no job of the run is at work")

    def controller_jobs(self) -> list[QueuedJob]:
        """The workflow's own job, queued or running."""
        name = f"{slurm_name(self.place / RUN)}_controller"
        return [job for job in slurm.jobs_named(name) if not job.ended]

    def _wait_for_controller(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        while self.controller_jobs() and time.monotonic() < end:
            time.sleep(1)
        done = (self.place / RUN / "report" / "report.html").exists()
        self.status = 0 if done else 1


@dataclass(frozen=True)
class Fault:
    """One kind. strike says what it struck; repair puts right what would strike again."""

    strike: Callable[[Trial], str]
    repair: Callable[[Trial], None] = lambda _trial: None
    prepare: Callable[[Trial], None] = lambda _trial: None
    settings: str = "iteration"
    stages: dict[str, dict[str, int]] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    launched: bool = False


def launched(command: list[str]) -> list[str]:
    """The same command, given by `prime launch` to a controller's job."""
    arguments = command[command.index("--snakefile") :]
    profile = arguments.index("--profile")
    passed = [*arguments[:profile], *arguments[profile + 2 :]]
    return [str(Path(sys.executable).parent / "prime"), "launch", "--profile", "slurm", *passed]


def _cancel(trial: Trial) -> str:
    job = trial.running_job()
    slurm.cancel([job.job_id])
    return job.comment


def _kill_stage(trial: Trial) -> str:
    for _ in range(600):
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if len(words) > 2 and words[1].endswith("/prime") and _is_within(process, trial.place):
                process.kill()
                return f"prime {words[2]}"
        time.sleep(0.1)
    raise RuntimeError("no stage is at work")


def _is_within(process: psutil.Process, place: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(place)
    except psutil.Error:
        return False


def _kill_node(trial: Trial) -> str:
    job = trial.running_job()
    trial.lab.kill_node(job.nodes)
    time.sleep(20)  # until Slurm has missed it
    trial.lab.start(f"slurmd-{job.nodes}")
    return f"{job.nodes}: {job.comment}"


def _kill_slurmctld(trial: Trial) -> str:
    away = trial.rng.uniform(5, 40)
    trial.lab.kill("slurmctld")
    time.sleep(away)
    trial.lab.start("slurmctld")
    return f"for {away:.0f} s"


def _kill_snakemake(trial: Trial) -> str:
    assert trial.process is not None
    trial.process.kill()
    return "process of the workflow"


def _kill_controller(trial: Trial) -> str:
    for _ in range(600):
        for job in trial.controller_jobs():
            if job.state == "RUNNING":
                how = trial.rng.choice(["kill -9", "requeue"])
                if how == "requeue":
                    slurm.requeue(job.job_id)
                else:
                    slurm.call("scancel", "--signal=KILL", "--full", job.job_id)
                return how
        time.sleep(0.1)
    raise RuntimeError("no controller is at work")


def _requeue(trial: Trial) -> str:
    job = trial.running_job()
    slurm.requeue(job.job_id)
    return job.comment


def _small_disk(trial: Trial) -> None:
    results = trial.place / "results"
    results.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(results)], check=True)


def _fill_disk(trial: Trial) -> str:
    filler = trial.place / "results" / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(b"\0" * 65536)
                file.flush()
        except OSError:
            return f"{filler.stat().st_size / 1e6:.0f} MB taken"


def _empty_disk(trial: Trial) -> None:
    (trial.place / "results" / "filler").unlink(missing_ok=True)


def _kill_accounting(trial: Trial) -> str:
    for daemon in ("slurmdbd", "mariadbd"):
        trial.lab.kill(daemon)
    return "slurmdbd, mariadbd"


def _nothing(trial: Trial) -> str:  # noqa: ARG001
    return "by its limit"


KINDS: dict[str, Fault] = {
    "scancel": Fault(_cancel),
    "kill_stage": Fault(_kill_stage),
    "kill_node": Fault(_kill_node),
    "kill_slurmctld": Fault(_kill_slurmctld),
    "kill_snakemake": Fault(_kill_snakemake),
    "kill_controller_job": Fault(_kill_controller, launched=True),
    # A limit of two minutes, a warning half a minute before, and training that takes longer.
    "time_limit": Fault(
        _nothing,
        settings="long_sft",
        stages={"sft": {"runtime": 2}},
        options=("--default-resources", "mem_mb=4000", "slurm_extra=\"'--signal=TERM@30'\""),
    ),
    "memory_limit": Fault(
        _nothing, stages={stage: {"mem_mb": 250} for stage in ("sample", "score", "policy")}
    ),
    "requeue": Fault(_requeue),
    "disk_full": Fault(_fill_disk, repair=_empty_disk, prepare=_small_disk),
    "accounting_down": Fault(_kill_accounting),
}
