"""Records of submitted jobs survive what cuts off a line."""

from prime_core.run.job_records import (
    RefusedJob,
    SubmittedJob,
    controller_name,
    is_controller,
    record_job,
    record_refusal,
    refused_jobs,
    slurm_name,
    submitted_jobs,
)
from prime_core.run.layout import RunFiles

FIRST = SubmittedJob("7", "sft", 0, "", 1, 1.0, "logs/sft.log")
SECOND = SubmittedJob("8", "sample", 3, "01", 1, 2.0, "logs/sample.log", 2)


def test_what_is_recorded_behind_a_line_that_was_cut_off_is_not_lost(tmp_path):
    files = RunFiles(tmp_path)
    record_job(files, FIRST)
    whole = files.submitted_jobs.read_bytes()
    # A kill, or a disk that was full for a moment, after any byte of the second line.
    record_job(files, SECOND)
    second = files.submitted_jobs.read_bytes()[len(whole) :]
    for length in range(1, len(second)):
        files.submitted_jobs.write_bytes(whole + second[:length])
        record_job(files, SECOND)
        known = submitted_jobs(files)
        assert (known[0], known[-1]) == (FIRST, SECOND), second[:length]
        # Whole but for its end of line, the line that was cut off counts as well.
        assert len(known) == 2 + (length == len(second) - 1)


def test_refusals_are_recorded_by_the_work_that_they_kept_from_beginning(tmp_path):
    files = RunFiles(tmp_path)
    assert refused_jobs(files) == []
    record_refusal(files, RefusedJob("sample", 3, "01", 2.0, "Invalid qos specification"))
    (refusal,) = refused_jobs(files)
    assert str(refusal.work) == "sample 3 01"


def test_controllers_are_told_by_their_name(tmp_path):
    assert is_controller(controller_name(tmp_path / "a"))
    assert not is_controller(slurm_name(tmp_path / "a"))
    assert not is_controller("my_controller")
