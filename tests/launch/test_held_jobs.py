"""Jobs that will not start by themselves."""

import pytest

from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm import held_jobs
from prime_core.launch.slurm.commands import QueuedJob, SlurmError
from prime_core.launch.slurm.held_jobs import MAX_RELEASES, HeldJobs


def job(reason: str, state: str = "PENDING") -> QueuedJob:
    return QueuedJob(
        job_id="7",
        name="prime_a",
        state=state,
        reason=reason,
        partition="gpu",
        nodes="",
        elapsed=0,
        left=-1,
        start="N/A",
        comment="",
    )


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    called: list[tuple[str, ...]] = []

    def call(*command: str) -> str:
        called.append(command)
        return ""

    monkeypatch.setattr(slurm, "call", call)
    return called


@pytest.mark.parametrize("reason", ["launch failed requeued held", "launch_failed_requeued_held"])
def test_a_job_whose_launch_failed_is_released_a_few_times_then_named(commands, reason):
    held = HeldJobs()
    said = [held.look(job(reason)) for _ in range(MAX_RELEASES + 2)]
    assert commands == [("scontrol", "release", "7")] * MAX_RELEASES
    assert said[0] is not None
    assert "released (1 of 3)" in said[0]
    assert "`scontrol release 7`" in str(said[MAX_RELEASES])
    assert said[MAX_RELEASES + 1] is None


def test_where_releasing_is_not_allowed_the_job_is_named(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_command: str) -> str:
        raise SlurmError("Access/permission denied")

    monkeypatch.setattr(held_jobs.slurm, "call", refuse)
    held = HeldJobs()
    assert held.look(job("launch failed requeued held")) is None
    assert "will not start" in str(held.look(job("launch failed requeued held")))


@pytest.mark.parametrize("reason", ["JobHeldUser", "JobHeldAdmin", "BadConstraints"])
def test_a_job_that_a_person_holds_is_named_once_and_left_alone(commands, reason):
    held = HeldJobs()
    assert "will not start" in str(held.look(job(reason)))
    assert held.look(job(reason)) is None
    assert commands == []


@pytest.mark.parametrize(("reason", "state"), [("Priority", "PENDING"), ("None", "RUNNING")])
def test_a_job_that_only_waits_or_runs_is_not_spoken_of(commands, reason, state):
    assert HeldJobs().look(job(reason, state)) is None
    assert commands == []
