"""Slurm's commands see neither the user's options for them nor the job that they are called in."""

import os
from pathlib import Path

import pytest

from prime_core.launch.slurm import commands as slurm
from tests.slurm.users_variables import HOSTILE


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A squeue that writes down its environment."""
    program = tmp_path / "squeue"
    program.write_text(f"#!/bin/sh\nenv > {tmp_path}/environment\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name, value in (HOSTILE | {"SLURM_JOB_ID": "7", "SUBMITIT_EXECUTOR": "slurm"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_CONF", "/somewhere/slurm.conf")
    return tmp_path / "environment"


def names(path: Path) -> set[str]:
    found = {line.partition("=")[0] for line in path.read_text().splitlines()}
    return {name for name in found if name.startswith(("S", "SLURM"))} - {"SHELL", "SHLVL"}


def test_a_command_gets_no_option_from_the_environment(shown):
    slurm.jobs_named("prime_a")
    assert names(shown) & (set(HOSTILE) | {"SLURM_JOB_ID", "SUBMITIT_EXECUTOR"}) == set()
    assert "SLURM_CONF" in names(shown)


def test_options_can_be_dropped_for_good_and_the_own_job_kept(shown):
    slurm.forget_variables(*slurm.OF_CLIENTS)
    assert not [name for name in os.environ if name.startswith(slurm.OF_CLIENTS)]
    assert os.environ["SLURM_JOB_ID"] == "7"
    slurm.forget_variables(*slurm.OF_JOBS)
    assert "SLURM_JOB_ID" not in os.environ
    assert os.environ["SLURM_CONF"] == "/somewhere/slurm.conf"
    slurm.jobs_named("prime_a")
    assert "SLURM_CONF" in names(shown)


@pytest.mark.usefixtures("shown")
def test_variables_that_ask_for_something_are_named_and_filters_are_not():
    said = slurm.ignored_requests()
    assert "SBATCH_RESERVATION, " in said
    assert "SRUN_PARTITION" in said
    assert "SQUEUE_" not in said
    slurm.forget_variables(*slurm.OF_CLIENTS)
    assert slurm.ignored_requests() == ""


def test_of_a_field_that_comes_twice_the_first_value_counts():
    line = "JobId=7 JobName=a JobState=RUNNING BatchFlag=1 Comment=x JobState=FAILED NodeList="
    assert slurm.fields(line)["JobState"] == "RUNNING"
    assert slurm.fields(line)["NodeList"] == ""
