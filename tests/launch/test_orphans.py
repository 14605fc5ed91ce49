"""What is said of Slurm jobs that are waited for; real ones are in tests/slurm/test_executor.py."""

import pytest

from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm import orphans
from prime_core.launch.slurm.commands import QueuedJob
from prime_core.run.job_records import SubmittedJob, record_job, submitted_jobs
from prime_core.run.layout import RunFiles


def queued(job_id: str, state: str, **changes: object) -> QueuedJob:
    """A job as squeue shows it."""
    values: dict = {"name": "n", "reason": "None", "partition": "gpu", "nodes": "gpu1"}
    values |= {"num_nodes": 1, "elapsed": 600, "left": 3000, "start": "N/A", "comment": ""}
    fields = QueuedJob.__dataclass_fields__
    values = {key: value for key, value in (values | changes).items() if key in fields}
    return QueuedJob(job_id=job_id, state=state, **values)


def test_a_run_that_never_had_slurm_jobs_asks_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "jobs_named", lambda _: pytest.fail("asked Slurm"))
    monkeypatch.setattr(slurm, "is_available", lambda: True)
    assert not orphans.wait_for_orphans(RunFiles(tmp_path))


def test_without_slurms_commands_nothing_is_asked(tmp_path, monkeypatch):
    files = RunFiles(tmp_path)
    files.submitted_jobs.parent.mkdir()
    files.submitted_jobs.touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not orphans.wait_for_orphans(files)


def test_each_job_is_told_by_stage_iteration_and_how_long_it_may_take(tmp_path):
    files = RunFiles(tmp_path)
    record_job(files, SubmittedJob("7", "policy", 12, "", 1, 0.0, "log"))
    record_job(files, SubmittedJob("8", "sample", 13, "02", 1, 0.0, "log"))
    record_job(files, SubmittedJob("9", "sft", 0, "", 1, 0.0, "log"))
    jobs = [
        queued("7", "RUNNING"),
        queued("8", "PENDING", reason="Priority"),
        queued("9", "RUNNING", left=-1),
        queued("10", "RUNNING", comment="rule_prm_wildcards_a_12"),  # killed before it was noted
    ]
    message = orphans.describe(jobs, submitted_jobs(files), "prime_a_1")
    assert message.splitlines()[1:] == [
        "  iteration 12, policy: Slurm job 7 running for 10 min, at most 50 min left",
        "  iteration 13, sample 02: Slurm job 8 pending (Priority)",
        "  sft: Slurm job 9 running for 10 min",
        "  rule_prm_wildcards_a_12: Slurm job 10 running for 10 min, at most 50 min left",
    ]
    assert "`scancel --name prime_a_1` cancels them" in message
    assert orphans.describe([], submitted_jobs(files), "prime_a_1") == ""
