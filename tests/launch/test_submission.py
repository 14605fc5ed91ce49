"""Submitting a job: which failures pass, what is asked for, what is written down and said."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.iocontainers import ResourceList
from snakemake_executor_plugin_slurm import Executor
from snakemake_interface_common.exceptions import WorkflowError

from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm import plugin_checks, submission
from prime_core.launch.slurm.submission import Patience
from prime_core.run.job_records import SubmittedJob, record_job
from prime_core.run.layout import RunFiles
from tests.support.fake_slurm import queued
from tests.support.shared_data import ROOT


@dataclass
class Job:
    """What is looked at of a job of Snakemake."""

    resources: ResourceList
    name: str = "kept_policy"
    wildcards_dict: dict[str, str] = field(default_factory=lambda: {"run": "a", "iteration": "12"})
    log: tuple[str, ...] = ("logs/policy.log",)
    attempt: int = 2
    restart_times: int = 2

    def is_group(self) -> bool:
        return False


def job(**resources: Any) -> Job:
    """A job that asks for something."""
    return Job(ResourceList(fromdict=resources))


AWAY = "Unable to contact slurm controller (connect failure)"


def test_a_slurm_that_is_away_is_waited_for(monkeypatch):
    monkeypatch.setattr(submission, "SECONDS_BETWEEN_TRIES", 0.0)
    heard: list[str] = []
    patience = Patience(threading.Event(), SimpleNamespace(warning=heard.append))
    answers: Iterator[str | slurm.SlurmError] = iter([slurm.SlurmError("away"), "", "4711"])

    def find() -> str:
        answer = next(answers)
        if isinstance(answer, slurm.SlurmError):
            raise answer
        return answer

    assert [patience.wait(AWAY, find), patience.wait(AWAY, find)] == ["", "4711"]
    assert heard == [f"Slurm accepts no jobs; retrying for 30 min. {AWAY}"]


def test_patience_ends_with_its_time_and_with_the_workflow(monkeypatch):
    logger = SimpleNamespace(warning=lambda _: None)
    closing = threading.Event()
    closing.set()
    assert Patience(closing, logger).wait(AWAY, lambda: "") is None
    monkeypatch.setattr(submission, "PATIENCE_SECONDS", 0.0)
    assert Patience(threading.Event(), logger).wait(AWAY, lambda: "") is None


def test_a_job_that_slurm_took_is_found_and_no_earlier_attempt_for_it(tmp_path, monkeypatch):
    files = RunFiles(tmp_path)
    record_job(files, SubmittedJob("1", "policy", 12, "", 1, 0.0, "log"))
    queue = [queued("1", "RUNNING", comment="rule_policy"), queued("2", comment="rule_policy")]
    # Attempts that a full disk, or the death of an earlier controller, kept from being recorded.
    queue += [queued("3", "FAILED", comment="rule_policy"), queued("4", comment="rule_policy")]
    monkeypatch.setattr(slurm, "jobs_named", lambda _name: queue)
    assert submission.accepted(files, {"2"}, "prime_a", "rule_policy") == "4"
    assert submission.accepted(files, {"2", "4"}, "prime_a", "rule_policy") == ""


def test_the_ledger_gets_stage_iteration_part_attempt_and_gpus():
    line = submission.job_record(job(gpu_count=4), "77")
    assert (line.job_id, line.stage, line.iteration, line.part) == ("77", "policy", 12, "")
    assert (line.attempt, line.log, line.gpus) == (2, "logs/policy.log", 4)
    sample = Job(
        ResourceList(), "sample", {"run": "a", "iteration": "0003", "shard": "01"}, (), attempt=1
    )
    line = submission.job_record(sample, "78")
    assert (line.stage, line.iteration, line.part, line.log, line.gpus) == (
        "sample",
        3,
        "01",
        "",
        0,
    )
    evaluate = Job(ResourceList(), "evaluate", {"iteration": "0000", "benchmark": "aime"})
    assert submission.job_record(evaluate, "79").part == "aime"


def test_a_failure_shows_the_end_of_the_log_that_tells_most(tmp_path):
    own, slurms = tmp_path / "own.log", tmp_path / "7.log"
    slurms.write_text("exceeded memory limit\n")
    failed = Job(ResourceList(), log=(str(own),))
    why = "Slurm job 7 ended in state FAILED."
    first = f"policy of iteration 12 failed, attempt 2 of 3: {why}"
    assert submission.failure(failed, why, [own, slurms]).splitlines() == [
        first,
        f"The end of {slurms}:",
        "  exceeded memory limit",
    ]
    own.write_text("".join(f"line {number}\n" for number in range(100)))
    shown = submission.failure(failed, why, [own, slurms]).splitlines()
    assert shown[:2] == [first, f"The end of {own}:"]
    assert shown[2:] == [f"  line {number}" for number in range(90, 100)]
    own.unlink()
    slurms.unlink()
    assert submission.failure(failed, why, [own, slurms]) == first


def test_the_installed_plugin_is_the_tested_one():
    plugin_checks.check(Executor)
    assert f'"{plugin_checks.PLUGIN}{plugin_checks.TESTED}"' in (
        (ROOT / "pyproject.toml").read_text()
    )


def test_another_plugin_is_refused_by_name():
    class Changed(Executor):
        def run_job(self, job, priority):
            """With one parameter more."""

    class Removed:
        pass

    with pytest.raises(
        WorkflowError, match=r"expected run_job\(self, job\), found run_job\(self, job, priority\)"
    ):
        plugin_checks.check(Changed)
    with pytest.raises(WorkflowError, match=r"\(>=2\.8,<2\.9\).*make install-cpu, or make"):
        plugin_checks.check(Removed)
