"""Clusters set up in many ways, and one iteration on each, as an ordinary user.

In: a kind of site and a way of running. Out: the seconds of the run, its digests, and where it was
interrupted by others what it said. `python -m benchmarks.site_matrix` (`make test-sites`) runs all
of them; tests/slurm/test_workflow_on_slurm.py runs some.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from prime_core.run.job_records import slurm_name, submitted_jobs
from prime_core.run.layout import RunFiles
from tests.slurm import users
from tests.slurm.lab import SlurmLab
from tests.slurm.users_variables import HOSTILE
from tests.slurm.workflow_on_slurm import ONE_ITERATION, slurm_command
from tests.support.shared_data import ROOT
from tests.support.workflow_runs import digests

Way = Literal["profile", "allocation"]
WAYS: tuple[Way, ...] = ("profile", "allocation")
RUN = Path("results") / "tiny"
# A warm-up long enough to be interrupted.
SETTINGS: dict[str, Any] = ONE_ITERATION | {"sft": ONE_ITERATION["sft"] | {"num_steps": 1500}}
ALLOCATION = {"gpus_per_node": 2, "cpus_per_task": 2, "minutes": 30, "fast_storage_gb": 1}
_PRIME = (sys.executable, "-m", "prime_core.cli.main")
# A loaded machine is no failure.
_SECONDS = 3600.0

_LINEAR = {"SelectType": "select/linear"}
_PREEMPT = ("--gpu-partition", "preempt")
_CANCEL = {"PreemptMode": "CANCEL", "JobRequeue": 0}


@dataclass(frozen=True)
class Kind:
    """A kind of site.

    settings: of slurm.conf; accounting, memory: as of SlurmLab; accounts: commands of sacctmgr;
    asked: options of `prime site`; filled_in: what a user writes into each pool of its file;
    urgent: options of a job that takes the nodes of the run's warm-up, none where there is none.
    """

    settings: Mapping[str, object] = field(default_factory=dict)
    accounting: bool = True
    memory: bool = True
    accounts: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    filled_in: Mapping[str, object] = field(default_factory=dict)
    urgent: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    "cons_tres, memory by node, accounting": Kind(),
    "linear, memory by node, no accounting": Kind(
        settings=_LINEAR | {"SelectTypeParameters": "CR_Memory"}, accounting=False
    ),
    "linear, memory by cpu, accounting": Kind(
        settings=_LINEAR | {"SelectTypeParameters": "CR_Memory"}, filled_in={"memory": "cpu"}
    ),
    "linear, no memory, accounting": Kind(
        settings=_LINEAR | {"SelectTypeParameters": None}, memory=False
    ),
    "cons_tres, memory by cpu, accounting, pre-emption requeues": Kind(
        asked=_PREEMPT, filled_in={"memory": "cpu"}, urgent=("--partition=gpu",)
    ),
    "cons_tres, no memory, no accounting, pre-emption cancels": Kind(
        settings=_CANCEL | {"SelectTypeParameters": "CR_Core"},
        accounting=False,
        memory=False,
        asked=_PREEMPT,
        urgent=("--partition=gpu",),
    ),
    "cons_tres, memory by node, accounting, pre-emption by QoS": Kind(
        settings=_CANCEL | {"PreemptType": "preempt/qos"},
        accounts=(
            "add qos scavenger set gracetime=30",
            "add qos high set preempt=scavenger preemptmode=cancel priority=9",
            "modify user root set qos+=scavenger,high,normal",
            f"modify user {users.NAME} set qos+=scavenger,normal defaultqos=scavenger",
        ),
        asked=_PREEMPT,
        urgent=("--partition=preempt", "--qos=high"),
    ),
    "cons_tres, memory by node, accounting, PrivateData": Kind(
        settings={"PrivateData": "accounts,jobs,nodes,partitions,reservations,usage,users"},
        asked=("--cpu-partition", "cpu", "--gpu-partition", "gpu", "--account", "prime"),
        filled_in={"max_mem_mb": 16000, "max_cpus": 8},  # which hidden nodes do not say
    ),
    "cons_tres, memory by node, accounting, QoS limits": Kind(
        settings={"AccountingStorageEnforce": "associations,limits,qos"},
        accounts=(
            "add qos tight set MaxSubmitJobsPerUser=1 MaxTRESPerJob=cpu=4,gres/gpu=2",
            f"modify user {users.NAME} set qos=tight defaultqos=tight",
        ),
    ),
}


@dataclass(frozen=True)
class Done:
    """A run that has ended: its seconds, digests, and whether its warm-up was interrupted."""

    seconds: float
    digests: dict[str, str]
    was_interrupted: bool


@contextmanager
def lab_of(kind: Kind, folder: Path) -> Iterator[SlurmLab]:
    """A Slurm of that kind, in a folder of its own that every user may enter."""
    with SlurmLab(folder, kind.accounting, kind.settings, kind.memory) as lab:
        for words in kind.accounts:
            _well(["sacctmgr", "--immediate", "--quiet", *words.split()], lab.env)
        yield lab


def run(
    lab: SlurmLab, kind: Kind, way: Way, place: Path, settings: Mapping[str, Any] = SETTINGS
) -> Done:
    """One iteration, from `prime site` to the report. Raises AssertionError with what was said.

    place: a folder that every user may enter; its contents are the ordinary user's.
    """
    log, files = place / "workflow.log", RunFiles(place / RUN)
    # Writes the files of settings, for either way.
    command = slurm_command(place, dict(settings))
    if way == "allocation":
        (place / "allocation.yaml").write_text(yaml.safe_dump(ALLOCATION))
        command = [*_PRIME, "launch", "--profile", "allocation", "--directory", str(place)]
        command += ["--allocation", str(place / "allocation.yaml")]
        command += ["--configfile", str(place / "settings.yaml")]
    users.give(place)
    env = users.environment(lab.env, place / "home")
    env |= _site(kind, env, place) | HOSTILE
    begun = time.monotonic()
    with log.open("w") as stream:
        process = subprocess.Popen(
            users.as_user(command), cwd=ROOT, env=env, stdout=stream, stderr=stream
        )
    try:
        if kind.urgent:
            _wait(lambda: _is_training(files), log, "its warm-up")
            urgent = ("sbatch", "--wait", "-N2", "--exclusive", "--output=/dev/null", "--wrap=true")
            _well([*urgent, *kind.urgent], lab.env)
        status = process.wait(_SECONDS)
        if way == "allocation":
            name = f"--name={slurm_name(files.root)}_controller"
            queue = ["squeue", "--noheader", name]
            _wait(lambda: status or not _well(queue, lab.env), log, "its end")
    finally:
        process.kill()
        process.wait()
    seconds = time.monotonic() - begun
    assert status == 0, _said(log, files)
    assert files.report.exists(), _said(log, files)
    assert bool(submitted_jobs(files)) == (way == "profile")
    return Done(seconds, digests(files.root), _was_interrupted(files))


def _site(kind: Kind, env: Mapping[str, str], place: Path) -> dict[str, str]:
    """The site's file as the user gets it and fills it in; the variable that points there."""
    path = place / "site.yaml"
    _well(users.as_user([*_PRIME, "site", "--out", str(path), *kind.asked]), env)
    site = yaml.safe_load(path.read_text())
    for pool in ("cpu", "gpu", "controller"):
        site[pool] |= kind.filled_in
    # Not /dev/shm: jobs of two labs on one machine may have one number.
    path.write_text(yaml.safe_dump(site | {"fast_storage": str(place / "fast")}))
    return {"PRIME_SITE": str(path)}


def _is_training(files: RunFiles) -> bool:
    return "step/s" in _log_of_warmup(files)


def _was_interrupted(files: RunFiles) -> bool:
    """As the second start says: Slurm's log has no word of a job that makes room by itself."""
    return "resuming after step" in _log_of_warmup(files)


def _log_of_warmup(files: RunFiles) -> str:
    log = files.root / "logs" / "sft.log"
    return log.read_text() if log.exists() else ""


def _wait(condition: Callable[[], object], log: Path, what: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}:\n{log.read_text()}"
        time.sleep(0.5)


def _said(log: Path, files: RunFiles) -> str:
    """The ends of the workflow's log and of those of its controller."""
    logs = [log, *sorted(files.controller_folder.glob("*_log.*"))]
    return "\n".join(f"{path}:\n{path.read_text()[-3000:]}" for path in logs)


def _well(command: list[str], env: Mapping[str, str]) -> str:
    """What a command says that succeeds."""
    done = subprocess.run(
        command,
        env={**env, "PATH": env.get("PATH", os.defpath)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
