"""When Slurm is asked anew for what a run's jobs cost; without a Slurm, whoever asks is told."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from prime_core.launch.accounting import accounts as accounting
from prime_core.launch.accounting import sacct
from prime_core.launch.slurm import commands as slurm
from prime_core.run.costs import Accounts, JobStart, write_accounts
from prime_core.run.job_records import record_job
from prime_core.run.layout import RunFiles
from tests.support.fake_slurm import job

NO_SLURM = "this machine has no Slurm"


@pytest.mark.parametrize(
    ("looked", "submitted", "asked"),
    [
        pytest.param(20, 30, False, id="nothing submitted since a recent look"),
        pytest.param(40, 50, True, id="an old look"),
        pytest.param(20, 10, True, id="a job submitted since"),
        pytest.param(1, 0, False, id="jobs submitted together"),
    ],
)
def test_a_look_will_do_until_it_is_old_or_jobs_were_submitted_since(
    looked: float, submitted: float, asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(slurm, "is_available", lambda: False)
    files, now = RunFiles(tmp_path), time.time()
    record_job(files, replace(job("7", "sft"), submitted=now - submitted))
    write_accounts(files, Accounts(looked=now - looked))
    accounts = accounting.update(files, max_age=30.0)
    assert (accounts.problem == NO_SLURM) is asked


def test_a_job_that_runs_and_in_the_database_still_waits_has_one_start(tmp_path, monkeypatch):
    files, now = RunFiles(tmp_path), time.time()
    record_job(files, replace(job("7", "sft"), submitted=now - 9))
    waits = JobStart(
        *("7", "prime_run", "PENDING", 0, now - 9, now - 9, None, None, 2, 1, 60.0, "sacct")
    )
    runs = replace(waits, state="RUNNING", started=now - 2, source="squeue")
    earlier = replace(waits, state="REQUEUED", started=now - 8, ended=now - 5)
    monkeypatch.setattr(slurm, "is_available", lambda: True)
    monkeypatch.setattr(slurm, "jobs_numbered", lambda _ids: [])
    monkeypatch.setattr(sacct, "remembered", lambda _names, _timeout: [runs])
    monkeypatch.setattr(sacct, "accounted", lambda *_: [earlier, waits])
    assert accounting.update(files).starts == (earlier, runs)
