"""Jobs that others end, and that Slurm does not put back: submitted again as the same attempt."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prime_core.launch.controller import Controller
from prime_core.launch.site.site import Pool
from prime_core.launch.slurm.workflow_job import WorkflowJob, submit
from prime_core.run.job_records import submitted_jobs
from tests.slurm import users
from tests.slurm.conftest import require_slurm
from tests.slurm.lab import SlurmLab
from tests.slurm.small_workflow import UNTIL_TOLD, Running, SmallWorkflow, jobs_at_work
from tests.support.shared_data import ROOT

pytestmark = pytest.mark.slow

SOON = "from prime_core.launch.slurm import verdicts; verdicts.REQUEUE_SECONDS = 1.0"
# As the project's rules do (workflow/rules/common.smk): the job outlives the warning.
IGNORING = f"{SOON}; shell.prefix(\"trap '' TERM; \")"
CANCELLING = {"PreemptMode": "CANCEL", "JobRequeue": 0}
BY_QOS = CANCELLING | {"PreemptType": "preempt/qos"}


@pytest.fixture(scope="module")
def cancelling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmLab]:
    """A Slurm that cancels what it pre-empts, and requeues nothing."""
    require_slurm()
    folder = tmp_path_factory.mktemp("cancelling") / "lab"
    with SlurmLab(folder, accounting=False, settings=CANCELLING) as lab:
        yield lab


def grace_time(lab: SlurmLab, seconds: int) -> None:
    command = ("scontrol", "update", "partitionname=preempt", f"gracetime={seconds}")
    subprocess.run(command, env=lab.env, check=True)


def begun(flow: SmallWorkflow, running: Running, times: int) -> None:
    running.wait_until(lambda: len(flow.begun()) == times, f"start {times} of the job")


def urgent_job(lab: SlurmLab, *options: str) -> None:
    """Take both GPU nodes for a moment; returns when they are free again."""
    command = ("sbatch", "--wait", "-N2", "--exclusive", "--output=/dev/null", "--wrap=true")
    subprocess.run([*command, *options], env=lab.env, check=True, capture_output=True, timeout=200)


def interrupted(
    lab: SlurmLab, folder: Path, urgent: tuple[str, ...], before: str, resources: str = ""
) -> str:
    """A workflow of one job, which is pre-empted; returns what it said."""
    workflow = SmallWorkflow(
        folder,
        seconds=(0,),
        command=UNTIL_TOLD,
        partition="preempt",
        before=before,
        resources=resources,
    )
    running = workflow.write().start("--retries", "0", env=lab.env)
    begun(workflow, running, 1)
    urgent_job(lab, *urgent)
    begun(workflow, running, 2)
    # What was asked for at first: nothing was short.
    assert jobs_at_work(lab.env, workflow.name, "%m %l") == ["400M", "5:00"]
    workflow.let_go()
    assert running.wait() == 0, running.said()
    assert [job.attempt for job in submitted_jobs(workflow.files)] == [1, 1]
    assert "Trying to restart" not in running.said()
    return running.said()


def test_a_job_that_exits_at_the_warning_of_a_preemption_has_not_failed(cancelling, tmp_path):
    grace_time(cancelling, 300)  # it has exited long before
    said = interrupted(cancelling, tmp_path / "work", ("--partition=gpu",), before=SOON)
    assert "ended in state FAILED: it was pre-empted. It is submitted again" in said


def test_a_job_that_is_cancelled_at_the_end_of_its_grace_time_has_not_failed(cancelling, tmp_path):
    grace_time(cancelling, 2)
    said = interrupted(cancelling, tmp_path / "work", ("--partition=gpu",), before=IGNORING)
    assert "ended in state PREEMPTED: it was pre-empted. It is submitted again" in said


def test_a_controller_that_would_be_cancelled_puts_itself_back(cancelling, tmp_path, monkeypatch):
    grace_time(cancelling, 300)
    monkeypatch.setenv("PATH", cancelling.env["PATH"])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    starts = tmp_path / "starts"
    command = ["sh", "-c", f"echo start >> {starts}; exec sleep 900"]
    job = WorkflowJob(
        name="prime_made-up_controller",
        pool=Pool(partition="preempt"),
        minutes=30,
        nodes=1,
        cpus=1,
        mem_gb=0.5,
        gpus=0,
        signal_seconds=60,
        folder=tmp_path / "controller",
    )
    submit(job, Controller(command, tmp_path, Path("run"), job.folder), "controller")

    def started(times: int) -> None:
        end = time.monotonic() + 200
        while not (starts.exists() and starts.read_text().count("start") == times):
            assert time.monotonic() < end, [log.read_text() for log in job.folder.glob("*.out")]
            time.sleep(0.2)

    started(1)
    urgent_job(cancelling, "--partition=gpu")
    started(2)


def test_a_node_that_dies_costs_no_attempt(cancelling, tmp_path):
    flow = SmallWorkflow(tmp_path / "work", seconds=(0,), command=UNTIL_TOLD, before=SOON).write()
    running = flow.start("--retries", "0", env=cancelling.env)
    begun(flow, running, 1)
    cancelling.kill_node("cpu1")
    again = "It is submitted again, still as attempt 1"
    running.wait_until(lambda: again in running.said(), "message about the node")
    cancelling.start("slurmd-cpu1")
    begun(flow, running, 2)
    flow.let_go()
    assert running.wait() == 0, running.said()
    assert [job.attempt for job in submitted_jobs(flow.files)] == [1, 1]


def test_a_qos_that_gives_way_to_another_costs_no_attempt(tmp_path):
    require_slurm()
    with SlurmLab(tmp_path / "lab", settings=BY_QOS) as lab:
        for words in (
            ("add", "qos", "scavenger", "set", "gracetime=2"),
            ("add", "qos", "high", "set", "preempt=scavenger", "preemptmode=cancel", "priority=9"),
            ("modify", "user", "root", "set", "qos+=scavenger,high,normal"),
            ("modify", "user", users.NAME, "set", "qos+=scavenger,normal"),
        ):
            command = ("sacctmgr", "--immediate", "--quiet", *words)
            subprocess.run(command, env=lab.env, check=True, capture_output=True)
        urgent = ("--partition=preempt", "--qos=high")
        scavenger = 'qos="scavenger",'
        said = interrupted(lab, tmp_path / "work", urgent, IGNORING, scavenger)
        assert "it was pre-empted. It is submitted again" in said
