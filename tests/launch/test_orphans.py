"""What is said of Slurm jobs that are waited for; real ones are in tests/slurm/test_executor.py."""

from collections.abc import Iterator

import pytest

from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm import orphans
from prime_core.launch.slurm.reasons import explained
from prime_core.run.job_records import SubmittedJob, record_job, submitted_jobs
from prime_core.run.layout import RunFiles
from tests.support.fake_slurm import queued


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
        queued("7", "RUNNING", elapsed=600, left=3000),
        queued("8", "PENDING", reason="Priority"),
        queued("9", "RUNNING", elapsed=600),
        queued(
            "10", "RUNNING", elapsed=600, left=3000, comment="rule_prm_wildcards_a_12"
        ),  # killed before it was noted
    ]
    message = orphans.describe(jobs, submitted_jobs(files), "prime_a_1")
    assert message.splitlines()[1:] == [
        "  iteration 12, policy: Slurm job 7 running for 10 min, at most 50 min left",
        f"  iteration 13, sample 02: Slurm job 8 pending ({explained('Priority', '8')})",
        "  sft: Slurm job 9 running for 10 min",
        "  rule_prm_wildcards_a_12: Slurm job 10 running for 10 min, at most 50 min left",
    ]
    assert "`scancel --name prime_a_1` cancels them" in message
    assert orphans.describe([], submitted_jobs(files), "prime_a_1") == ""


def test_jobs_that_ended_while_slurm_was_silent_make_the_graph_old(tmp_path, monkeypatch):
    """Silent at the first look, and without jobs at the second: what they wrote is not known."""
    answers: Iterator[slurm.SlurmError | list[slurm.QueuedJob]]
    answers = iter([slurm.SlurmError("away"), []])

    def jobs_named(_name: str) -> list[slurm.QueuedJob]:
        answer = next(answers)
        if isinstance(answer, slurm.SlurmError):
            raise answer
        return answer

    files = RunFiles(tmp_path)
    files.submitted_jobs.parent.mkdir()
    files.submitted_jobs.touch()
    monkeypatch.setattr(slurm, "is_available", lambda: True)
    monkeypatch.setattr(slurm, "jobs_named", jobs_named)
    monkeypatch.setattr(orphans, "SECONDS_BETWEEN_LOOKS", 0.0)
    assert orphans.wait_for_orphans(files)
