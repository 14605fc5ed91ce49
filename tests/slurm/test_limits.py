"""What Slurm refuses or keeps pending: said in words, waited for if it passes, else an error."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from prime_core.run.job_records import held_back_jobs, refused_jobs, submitted_jobs
from prime_core.run.layout import RunFiles
from tests.slurm import users
from tests.slurm.conftest import require_slurm
from tests.slurm.lab import SlurmLab
from tests.slurm.small_workflow import SmallWorkflow, jobs_at_work
from tests.slurm.users_variables import HOSTILE
from tests.slurm.workflow_on_slurm import ONE_ITERATION, slurm_command, write_site
from tests.support.workflow_runs import environment

pytestmark = pytest.mark.slow

SOON = """
from prime_core.launch.slurm import held_back, pending_jobs
held_back.SECONDS_BETWEEN_TRIES = 2.0
pending_jobs.SECONDS_UNTIL_SAID = 1.0
"""


@pytest.fixture(scope="module")
def strict_slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmLab]:
    """A Slurm that refuses unknown accounts and keeps to limits, with a QoS `tight` to set."""
    require_slurm()
    settings = {"AccountingStorageEnforce": "associations,limits,qos"}
    with SlurmLab(tmp_path_factory.mktemp("strict") / "lab", settings=settings) as lab:
        accounts(lab, "add", "qos", "tight")
        for user in ("root", users.NAME):
            accounts(lab, "modify", "user", user, "set", "qos+=tight,normal")
        yield lab


@pytest.fixture
def tight(strict_slurm: SlurmLab) -> Iterator[SlurmLab]:
    """That Slurm, its QoS without limits again afterwards."""
    yield strict_slurm
    limit(strict_slurm, "MaxSubmitJobsPerUser=-1", "GrpSubmitJobs=-1", "GrpTRES=cpu=-1")
    strict_slurm.restore()


def accounts(lab: SlurmLab, *words: str) -> None:
    command = ("sacctmgr", "--immediate", "--quiet", *words)
    subprocess.run(command, env=lab.env, check=True, capture_output=True, timeout=60)


def limit(lab: SlurmLab, *limits: str) -> None:
    """Set limits of the QoS; slurmctld has heard of them when this returns."""
    accounts(lab, "modify", "qos", "tight", "set", *limits)


def workflow(folder: Path, num_shards: int = 1, seconds: float = 1) -> SmallWorkflow:
    flow = SmallWorkflow(
        folder, seconds=(seconds,), num_shards=num_shards, resources='qos="tight",', before=SOON
    )
    return flow.write()


def test_a_refused_job_is_told_once_with_slurms_words_and_shown_by_status(tight, tmp_path):
    run = RunFiles(tmp_path / "results" / "tiny")
    env = users.environment(tight.env | environment() | HOSTILE, tmp_path / "home")
    env |= write_site(tmp_path, cpu={"account": "nosuch"})
    command = users.as_user(slurm_command(tmp_path, ONE_ITERATION, "--until", "build"))
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=400)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    words = "Invalid account or account/partition combination specified (see cpu.account in site"
    assert said.count(words) == 1, said
    assert "build is refused by Slurm: " in said
    assert "Trying to restart" not in said
    assert not submitted_jobs(run)
    status = users.as_user(["prime", "status", "--run", str(run.root)])
    shown = subprocess.run(status, env=env, capture_output=True, text=True, timeout=60).stdout
    assert "not finished: build (refused by Slurm)" in shown
    assert "Invalid account" in shown
    # Once it is mended, the same command goes on, and status forgets the refusal.
    env |= write_site(tmp_path)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = subprocess.run(status, env=env, capture_output=True, text=True, timeout=60).stdout
    assert "refused by Slurm" not in shown


@pytest.mark.parametrize("of", ["MaxSubmitJobsPerUser=1", "GrpSubmitJobs=2"])
def test_a_limit_on_queued_jobs_is_waited_for_without_using_up_attempts(of, tight, tmp_path):
    limit(tight, of)
    flow = workflow(tmp_path / "work", num_shards=3)
    running = flow.start("--retries", "1", env=tight.env)
    running.wait_until(lambda: held_back_jobs(flow.files).count, "jobs being held back")
    assert "no more jobs in the queue at a time" in held_back_jobs(flow.files).why
    assert running.wait() == 0, running.said()
    assert held_back_jobs(flow.files).count == 0
    assert sorted(flow.begun()) == ["1-0", "1-1", "1-2"]
    assert [job.attempt for job in submitted_jobs(flow.files)] == [1] * 3
    assert running.said().count("waits for room in the queue") == 1
    assert "Trying to restart" not in running.said()


def test_a_limit_that_lets_no_job_pass_is_an_error(tight, tmp_path):
    limit(tight, "GrpSubmitJobs=0")
    flow = workflow(tmp_path / "work")
    running = flow.start("--retries", "2", env=tight.env)
    assert running.wait() != 0
    assert "GrpSubmit of QoS tight is 0, so that no job passes" in running.said()
    assert not flow.begun()
    (refusal,) = refused_jobs(flow.files)
    assert refusal.stage == "step"


def test_a_job_that_waits_for_others_is_explained_and_starts_when_they_end(tight, tmp_path):
    limit(tight, "GrpTRES=cpu=1")
    other = ("sbatch", "--parsable", "--qos=tight", "--output=/dev/null", "--wrap=sleep 600")
    done = subprocess.run(other, env=tight.env, capture_output=True, text=True, check=True)
    flow = workflow(tmp_path / "work")
    running = flow.start(env=tight.env)
    words = "QOSGrpCpuLimit: no more processors at a time are allowed to all jobs of its QoS"
    running.wait_until(lambda: words in running.said(), "the reason in words")
    (job,) = jobs_at_work(tight.env, flow.name)
    assert f"step 00 of iteration 1 (Slurm job {job}): pending for " in running.said()
    subprocess.run(["scancel", done.stdout.strip()], env=tight.env, check=True)
    assert running.wait() == 0, running.said()


def test_a_job_that_can_never_start_is_an_error_and_leaves_the_queue(tight, tmp_path):
    limit(tight, "GrpTRES=cpu=0")
    flow = workflow(tmp_path / "work", num_shards=2)
    running = flow.start("--retries", "2", env=tight.env)
    assert running.wait() != 0
    said = "can never start. QOSGrpCpuLimit: GrpTRES of QoS tight is cpu=0, too low for the 1 that"
    assert said in running.said(), running.said()
    assert "Trying to restart" not in running.said()
    assert jobs_at_work(tight.env, flow.name) == []
    assert len(refused_jobs(flow.files)) == 2
