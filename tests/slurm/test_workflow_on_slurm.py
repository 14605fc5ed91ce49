"""The whole workflow as Slurm jobs: the bits of a local run, whatever happens on the way."""

import random
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from prime_core.launch.slurm import commands as slurm
from prime_core.run.job_records import submitted_jobs
from prime_core.run.layout import RunFiles
from tests.slurm import site_matrix
from tests.slurm.faults import KINDS, RUN, Trial
from tests.slurm.lab import SlurmLab
from tests.slurm.workflow_on_slurm import ONE_ITERATION, slurm_command, write_site
from tests.support.lake import AGENT
from tests.support.workflow_runs import command, digests, environment, run_well

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

AGENTS_ITERATION = AGENT | {"iterations": 1}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run on this machine."""
    folder = tmp_path_factory.mktemp("local")
    run_well(folder, settings=ONE_ITERATION)
    return folder / RUN


@pytest.fixture(scope="module")
def local_agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent's undisturbed run on this machine."""
    folder = tmp_path_factory.mktemp("agent")
    run_well(folder, settings=AGENTS_ITERATION)
    return folder / RUN


def trial(lab: SlurmLab, place: Path, kind: str) -> Trial:
    begun = Trial(lab, place, random.Random(0), ONE_ITERATION, KINDS[kind])
    begun.start()
    return begun


def output_of(begun: Trial) -> str:
    return (begun.place / "workflow.log").read_text()


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize(
    ("way", "name"),
    [
        pytest.param(
            *("profile", "cons_tres, memory by node, accounting, PrivateData"),
            marks=pytest.mark.long,
        ),
        ("allocation", "linear, no memory, accounting"),
    ],
)
def test_an_ordinary_users_agent_on_another_kind_of_site_gets_the_bits_of_a_local_run(
    way: site_matrix.Way, name: str, tmp_path: Path, local_agent: Path
):
    kind = site_matrix.KINDS[name]
    with site_matrix.lab_of(kind, tmp_path / "lab") as lab:
        done = site_matrix.run(lab, kind, way, tmp_path / "run", AGENTS_ITERATION)
    assert done.digests == digests(local_agent)
    assert "response_mask" in pd.read_parquet(RunFiles(tmp_path / "run" / RUN).batch(1))


def test_a_dead_workflow_is_continued_on_this_machine_once_its_jobs_have_ended(
    slurm: SlurmLab, tmp_path: Path, local: Path
):
    begun = trial(slurm, tmp_path, "kill_snakemake")
    begun.running_job()
    begun.fault.strike(begun)
    begun.wait()
    assert begun.status != 0
    submitted = submitted_jobs(RunFiles(tmp_path / RUN))
    done = subprocess.run(
        command(tmp_path, settings=ONE_ITERATION),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "waiting for Slurm jobs that an earlier launch left running" in done.stderr
    assert digests(tmp_path / RUN) == digests(local)
    # What the dead workflow had submitted was not done again: each stage says so when it is done.
    for job in submitted:
        assert not re.search(rf"(^| ){job.stage}( \d+)?:", done.stdout, re.MULTILINE), job


@pytest.mark.usefixtures("slurm")
def test_training_on_two_nodes_ends_with_the_weights_of_one_process(tmp_path: Path, local: Path):
    two_nodes = {"nodes": 2, "gpus_per_node": 1}
    target = str(RUN / "metrics" / "sft.json")
    run_well(tmp_path, "--until", "prepare", settings=ONE_ITERATION)
    options = slurm_command(tmp_path, ONE_ITERATION, stages={"sft": two_nodes})
    done = subprocess.run(
        [*options, "--", target],
        env=environment() | write_site(tmp_path),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    job_id = submitted_jobs(RunFiles(tmp_path / RUN))[-1].job_id
    assert _nodes_of(job_id) == {"gpu1", "gpu2"}
    mine, theirs = (
        load_file(folder / "models" / "policy-0000" / "model.safetensors")
        for folder in (tmp_path / RUN, local)
    )
    assert mine.keys() == theirs.keys()
    # 300 steps at a high rate: rounding of the sums over ranks has grown by then
    for name, weights in mine.items():
        torch.testing.assert_close(weights, theirs[name], atol=2e-2, rtol=0)


def _nodes_of(job_id: str) -> set[str]:
    (job,) = slurm.jobs_numbered([job_id])
    return set(slurm.call("scontrol", "show", "hostnames", job.nodes).split())
