"""Hours of real jobs on a real Slurm: completed, failed, requeued, cancelled; accounting away."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from prime_core.launch.accounting import accounts as accounting
from prime_core.launch.accounting import budget
from prime_core.launch.slurm import commands as slurm
from prime_core.report.tables.cost import read_cost
from prime_core.run.costs import GONE, Accounts, charges, gpu_hours, write_accounts
from prime_core.run.job_records import (
    ControllerStart,
    SubmittedJob,
    controller_name,
    record_controller,
    record_job,
    slurm_name,
    submitted_jobs,
)
from prime_core.run.layout import RunFiles
from prime_core.settings.reading import parse_settings
from tests.slurm.lab import SlurmLab
from tests.support.fake_run import make_run
from tests.support.fake_slurm import job_start

pytestmark = pytest.mark.slow
GPU = ("--partition=gpu",)


@pytest.fixture
def files(tmp_path, slurm, monkeypatch):
    """An empty run, with Slurm's commands on the path."""
    monkeypatch.setenv("PATH", slurm.env["PATH"])
    return RunFiles(tmp_path / "run")


def submit(
    files: RunFiles, stage: str, script: str, *options: str, iteration: int = 1, gpus: int = 0
) -> str:
    """A job of a stage, recorded."""
    command = ["sbatch", "--parsable", f"--job-name={slurm_name(files.root)}"]
    command += ["--output=/dev/null", *options, f"--wrap={script}"]
    job_id = slurm.call(*command).strip()
    record_job(files, SubmittedJob(job_id, stage, iteration, "", 1, time.time(), "log", gpus))
    return job_id


def wait_for(job_id: str, *states: str, timeout: float = 200.0) -> None:
    """Until squeue shows the job in one of the states."""
    deadline = time.monotonic() + timeout
    while (state := slurm.jobs_numbered([job_id])[0].state) not in states:
        assert time.monotonic() < deadline, f"job {job_id} is {state}, not {states}"
        time.sleep(0.1)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 200.0
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def accounts_with_ends(files: RunFiles, num_starts: int) -> Accounts:
    """The run's accounts once sacct itself knows the end of so many starts."""
    deadline = time.monotonic() + 200.0
    while True:
        accounts = accounting.update(files)
        told = [s for s in accounts.starts if s.source == "sacct" and s.ended is not None]
        if len(told) == num_starts:
            return accounts
        assert time.monotonic() < deadline, accounts
        time.sleep(0.3)


def seconds_by_stage(files: RunFiles, accounts: Accounts) -> dict[tuple[str, bool], float]:
    """GPU-seconds by stage, lost ones apart."""
    found: dict[tuple[str, bool], float] = {}
    for charge in charges(accounts.starts, submitted_jobs(files), [], [], time.time()):
        place = (charge.stage, charge.lost)
        found[place] = found.get(place, 0.0) + charge.gpu_hours * 3600
    return found


def held(job_id: str) -> list[int]:
    """Seconds of each start of a job, by Slurm's own count."""
    asked = ("sacct", "-DXnP", f"--jobs={job_id}", "--format=ElapsedRaw")
    return [int(line) for line in slurm.call(*asked).split()]


def ran(job_id: str) -> int:
    """Seconds of a job's latest start, as slurmctld has them."""
    return slurm.seconds(slurm.details(job_id)["RunTime"])


def test_hours_are_those_that_jobs_held_their_gpus(files):
    done = submit(files, "sample", "sleep 3", *GPU, "--gres=gpu:h100:2", "--cpus-per-task=2")
    failed = submit(files, "policy", "sleep 2; exit 1", *GPU, "--gres=gpu:1")
    stopped = submit(files, "sft", "sleep 2; exit 75", *GPU, "--gres=gpu:1", iteration=0)
    wide = submit(files, "prm", "srun sleep 2", *GPU, "-N2", "-n2", "--gres=gpu:1")
    verifying = submit(files, "verify", "sleep 2", "--partition=cpu")
    cancelled = submit(files, "score", "sleep 100", *GPU, "--gres=gpu:1")
    wait_for(cancelled, "RUNNING")
    waiting = submit(files, "evaluate", "true", "--begin=now+1hour", *GPU)
    slurm.cancel([cancelled, waiting])
    for job_id in (done, failed, stopped, wide, verifying, cancelled):
        wait_for(job_id, "COMPLETED", "FAILED", "CANCELLED")
    accounts = accounts_with_ends(files, 7)
    assert (accounts.problem, accounts.answered) == ("", accounts.looked)

    def counted() -> bool:
        # Slurm may correct the end of a job on several nodes by a second, once all have ended.
        return seconds_by_stage(files, accounting.update(files)) == pytest.approx(
            {
                ("sample", False): 2 * sum(held(done)),
                ("policy", True): sum(held(failed)),
                ("sft", False): sum(held(stopped)),
                ("prm", False): 2 * sum(held(wide)),
                ("score", True): sum(held(cancelled)),
                ("verify", False): 0,
                ("evaluate", True): 0,
            }
        )

    wait_until(counted)
    accounts = accounting.update(files)
    assert sum(held(done)) >= 3
    starts = {start.job_id: start for start in accounts.starts}
    assert (starts[done].gpus, starts[done].cpus) == (2, 2)
    assert starts[wide].gpus == 2
    assert starts[waiting].waited() is None
    assert budget.spent_gpu_hours(files) == gpu_hours(accounts.starts, time.time())


def test_every_start_of_a_requeued_job_is_counted(files):
    marker = files.root.parent / "second"
    script = f"if [ -e {marker} ]; then sleep 2; else touch {marker}; sleep 100; fi"
    job_id = submit(files, "policy", script, *GPU, "--gres=gpu:2", "--requeue")
    wait_for(job_id, "RUNNING")
    wait_until(marker.exists)
    slurm.requeue(job_id)
    wait_for(job_id, "COMPLETED")
    accounts = accounts_with_ends(files, 2)
    assert [start.state for start in accounts.starts] == ["REQUEUED", "COMPLETED"]

    def counted() -> bool:
        # As above, Slurm may correct an end by a second.
        first, second = held(job_id)
        return seconds_by_stage(files, accounting.update(files)) == pytest.approx(
            {("policy", True): 2 * first, ("policy", False): 2 * second}
        )

    wait_until(counted)
    # The wait between the starts is Slurm's, not the queue's.
    begun, again = accounts.starts
    assert (again.waited() or 0) < (again.started or 0) - (begun.ended or 0)


def test_a_running_job_is_counted_so_far_and_may_use_up_the_budget(files, capsys):
    job_id = submit(files, "policy", "sleep 100", *GPU, "--gres=gpu:4")
    wait_for(job_id, "RUNNING")
    assert budget.budget_refusal(parse_settings({"max_gpu_hours": 10}, "test"), files) is None
    settings = parse_settings({"max_gpu_hours": 4 * 3 / 3600}, "test")
    wait_until(lambda: budget.budget_refusal(settings, files) is not None)
    refusal = budget.budget_refusal(settings, files)
    assert refusal is not None
    assert refusal.startswith("max_gpu_hours 0.00333333 reached: 0.00")
    assert "raise it and start again" in refusal
    assert budget.budget_refusal(parse_settings({}, "test"), files) is None
    assert capsys.readouterr().err == ""


def test_the_last_table_is_kept_while_slurmdbd_is_down(files, slurm: SlurmLab):
    done = submit(files, "policy", "sleep 2", *GPU, "--gres=gpu:1")
    wait_for(done, "COMPLETED")
    before = accounts_with_ends(files, 1)
    slurm.kill("slurmdbd")
    after = accounting.update(files)
    assert "refused" in after.problem
    assert after.answered == before.answered
    assert after.tried > before.tried
    assert after.starts == before.starts
    # What runs meanwhile is seen in squeue.
    meanwhile = submit(files, "prm", "sleep 2", *GPU, "--gres=gpu:2")
    wait_for(meanwhile, "COMPLETED")
    seconds = seconds_by_stage(files, accounting.update(files))
    assert seconds.keys() == {("policy", False), ("prm", False)}
    assert seconds["prm", False] == pytest.approx(2 * ran(meanwhile))
    assert any("did not answer" in note for note in read_cost(files).notes)
    slurm.start("slurmdbd")
    accounts = accounts_with_ends(files, 2)
    assert accounts.problem == ""
    assert {start.source for start in accounts.starts} == {"sacct"}
    assert read_cost(files).notes == ()


def test_an_accounting_that_hangs_holds_nobody_up_twice(files, slurm: SlurmLab):
    job_id = submit(files, "policy", "sleep 2", *GPU, "--gres=gpu:1")
    wait_for(job_id, "COMPLETED")
    process = slurm._running["slurmdbd"]
    process.send_signal(signal.SIGSTOP)
    try:
        accounts = accounting.update(files, timeout=2.0, patience=300)
        assert accounts.problem == "sacct: Slurm did not answer within 2 s"
        assert [start.source for start in accounts.starts] == ["squeue"]
        again = accounting.update(files, timeout=2.0, patience=300)
        assert (again.problem, again.tried) == (accounts.problem, accounts.tried)
    finally:
        process.send_signal(signal.SIGCONT)


def test_jobs_that_slurm_lost_do_not_run_for_ever(files):
    job_id = submit(files, "policy", "sleep 1", *GPU, "--gres=gpu:1")
    wait_for(job_id, "COMPLETED")
    ghost = "3999999"  # a number that Slurm has not given
    begun = time.time() - 5 * 3600
    record_job(files, SubmittedJob(ghost, "prm", 1, "", 1, begun, "log"))
    running = job_start(ghost, state="RUNNING", submitted=begun, started=begun, ended=None)
    write_accounts(files, Accounts((replace(running, limit=7200.0),), None, 0.0))
    accounts = accounting.update(files)
    [start] = [start for start in accounts.starts if start.job_id == ghost]
    assert (start.state, start.seconds(time.time())) == (GONE, 7200)


def test_a_number_that_was_another_jobs_before_is_not_counted(files):
    command = ["sbatch", "--parsable", "--job-name=other", "--output=/dev/null", "--wrap=sleep 1"]
    other = slurm.call(*command).strip()
    wait_for(other, "COMPLETED")
    record_job(files, SubmittedJob(other, "policy", 1, "", 1, time.time(), "log"))
    own = submit(files, "prm", "sleep 1")
    wait_for(own, "COMPLETED")
    assert {start.job_id for start in accounts_with_ends(files, 1).starts} == {own}


def test_the_controllers_job_is_found_by_its_own_name(files):
    command = ["sbatch", "--parsable", f"--job-name={controller_name(files.root)}"]
    command += ["--output=/dev/null", *GPU, "--gres=gpu:3", "--wrap=sleep 100"]
    job_id = slurm.call(*command).strip()
    record_controller(
        files, ControllerStart("allocation", "gpu1", 1, job_id, 3, time.time(), "log")
    )
    wait_for(job_id, "RUNNING")
    accounts = accounting.update(files)
    [start] = accounts.starts
    assert (start.state, start.gpus, start.ended) == ("RUNNING", 3, None)


def test_without_accounting_hours_are_what_squeue_shows(files, tmp_path, capsys):
    with SlurmLab(tmp_path / "lab", accounting=False):
        job_id = submit(files, "policy", "sleep 3", *GPU, "--gres=gpu:2")
        wait_for(job_id, "COMPLETED")
        settings = parse_settings({"max_gpu_hours": 5 / 3600}, "test")
        refusal = budget.budget_refusal(settings, files)
        accounts = accounting.load(files)
        assert "disabled" in accounts.problem
        assert [start.source for start in accounts.starts] == ["squeue"]
        assert gpu_hours(accounts.starts, time.time()) * 3600 == pytest.approx(2 * ran(job_id))
        assert refusal is not None
        said = capsys.readouterr().err
        assert "does not answer" in said
        assert "estimated from squeue" in said
        budget.budget_refusal(settings, files)
        assert capsys.readouterr().err == ""  # said once


def test_gpus_that_slurm_does_not_count_are_those_that_were_asked_for(files, tmp_path):
    with SlurmLab(tmp_path / "lab", settings={"AccountingStorageTRES": "license/none"}):
        job_id = submit(files, "policy", "sleep 2", *GPU, "--gres=gpu:2", gpus=2)
        wait_for(job_id, "COMPLETED")
        accounts = accounts_with_ends(files, 1)
        assert accounts.starts[0].gpus == 2
        # Where it was not recorded squeue may have shown it.
        other = RunFiles(tmp_path / "other")
        job_id = submit(other, "policy", "sleep 1", *GPU, "--gres=gpu:2")
        wait_for(job_id, "RUNNING", "COMPLETED")
        accounting.update(other)
        wait_for(job_id, "COMPLETED")
        assert accounts_with_ends(other, 1).starts[0].gpus == 2


def test_a_budget_that_nothing_counts_for_is_said_to_be_one(files, capsys):
    job_id = submit(files, "policy", "sleep 1")
    wait_for(job_id, "RUNNING", "COMPLETED")
    settings = parse_settings({"max_gpu_hours": 1}, "test")
    assert budget.budget_refusal(settings, files) is None
    assert "no job of this run is known to have held a GPU" in capsys.readouterr().err


def test_prime_report_asks_slurm_first(files):
    make_run(files.root, iterations=1, planned=1, evaluated=(0, 1))
    job_id = submit(files, "policy", "sleep 2", *GPU, "--gres=gpu:1")
    wait_for(job_id, "COMPLETED")
    accounts_with_ends(files, 1)
    command = ["prime", "report", "--run", str(files.root)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"CI": ""})
    table = read_cost(files).table
    assert table["gpu_hours"].sum() * 3600 == pytest.approx(sum(held(job_id)))
