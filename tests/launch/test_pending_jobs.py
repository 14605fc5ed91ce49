"""Jobs that are pending: held ones, what others wait for, those that can never start."""

import pytest

from prime_core.launch.slurm import account_limits, pending_jobs
from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.commands import QueuedJob, SlurmError
from prime_core.launch.slurm.pending_jobs import (
    MAX_RELEASES,
    SECONDS_BETWEEN_MESSAGES,
    SECONDS_UNTIL_SAID,
    PendingJobs,
)
from tests.support.fake_slurm import queued


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def job(reason: str, state: str = "PENDING", job_id: str = "7") -> QueuedJob:
    return queued(job_id, state, reason=reason)


def look(pending: PendingJobs, reason: str, state: str = "PENDING") -> str | None:
    return pending.look(job(reason, state), "sample 00")


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
    pending = PendingJobs()
    said = [look(pending, reason) for _ in range(MAX_RELEASES + 2)]
    assert commands == [("scontrol", "release", "7")] * MAX_RELEASES
    assert said[0] is not None
    assert "released (1 of 3)" in said[0]
    assert "`scontrol release 7`" in str(said[MAX_RELEASES])
    assert said[MAX_RELEASES + 1] is None


def test_where_releasing_is_not_allowed_the_job_is_named(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_command: str) -> str:
        raise SlurmError("Access/permission denied")

    monkeypatch.setattr(pending_jobs.slurm, "call", refuse)
    pending = PendingJobs()
    assert look(pending, "launch failed requeued held") is None
    assert "will not start" in str(look(pending, "launch failed requeued held"))


@pytest.mark.parametrize("reason", ["JobHeldUser", "JobHeldAdmin", "BadConstraints"])
def test_a_job_that_a_person_has_to_help_is_named_once_and_left_alone(commands, reason):
    pending = PendingJobs()
    assert "will not start" in str(look(pending, reason))
    assert look(pending, reason) is None
    assert commands == []


@pytest.mark.parametrize(("reason", "state"), [("Priority", "PENDING"), ("None", "RUNNING")])
def test_a_job_that_only_waits_or_runs_is_not_spoken_of(commands, reason, state):
    assert look(PendingJobs(), reason, state) is None
    assert commands == []


def test_after_ten_minutes_jobs_of_one_reason_are_told_together_and_again_after_an_hour():
    clock = Clock()
    pending = PendingJobs(clock)

    def poll(seconds: float) -> list[str]:
        clock.now += seconds
        for number in range(5):
            pending.look(job("Priority", job_id=str(number)), f"sample {number:02d}")
        said = pending.news()
        assert pending.hopeless("") == {}
        return said

    assert poll(0) == []
    assert poll(SECONDS_UNTIL_SAID - 1) == []
    assert poll(1) == [
        "sample 00 (Slurm job 0), sample 01 (Slurm job 1), sample 02 (Slurm job 2) and 2 more: "
        "pending for 10 min. Priority: jobs of higher priority are ahead in the queue; it starts "
        "by itself, sooner with fewer GPUs, less memory or a shorter time limit "
        "(cluster_profiles/stages.yaml)"
    ]
    assert poll(SECONDS_BETWEEN_MESSAGES - 1) == []
    assert len(poll(1)) == 1


@pytest.mark.parametrize(("idle", "is_said"), [("2\n1\n", True), ("", False), ("?", False)])
def test_idle_nodes_beside_a_job_that_waits_for_some_are_said(monkeypatch, idle, is_said):
    clock = Clock()
    asked: list[tuple[str, ...]] = []

    def call(*command: str) -> str:
        asked.append(command)
        return idle

    monkeypatch.setattr(slurm, "call", call)
    pending = PendingJobs(clock)
    for _ in range(2):
        look(pending, "Resources")
        clock.now += SECONDS_UNTIL_SAID
    (said,) = pending.news()
    assert ("3 of the nodes of gpu are idle now" in said) == is_said
    assert ("whole_nodes in site.yaml" in said) == is_said
    assert asked == [
        ("sinfo", "--noheader", "--partition=gpu", "--states=idle", "--format=%D"),
    ]


def test_a_job_that_has_run_in_between_waits_anew():
    clock = Clock()
    pending = PendingJobs(clock)
    look(pending, "Resources")
    look(pending, "None", "RUNNING")
    clock.now += SECONDS_UNTIL_SAID
    look(pending, "BeginTime")
    assert pending.news() == []


def test_what_a_single_job_may_not_ask_for_is_hopeless_after_ten_minutes():
    clock = Clock()
    pending = PendingJobs(clock)
    assert "will not start" in str(look(pending, "PartitionTimeLimit"))
    assert pending.hopeless("") == {}
    clock.now += SECONDS_UNTIL_SAID
    look(pending, "PartitionTimeLimit")
    (why,) = pending.hopeless("").values()
    assert why.startswith(
        "Slurm job 7 can never start. PartitionTimeLimit: its time limit is longer"
    )


def test_limits_are_compared_once_an_hour_and_for_all_jobs_of_one_that_never_passes(monkeypatch):
    clock, answer = Clock(), [""]
    asked: list[str] = []
    pending = PendingJobs(clock)
    monkeypatch.setattr(account_limits, "asked_by", asked.append)
    monkeypatch.setattr(account_limits, "never", lambda *_: answer[0])

    def poll(seconds: float) -> dict[str, str]:
        clock.now += seconds
        for number in range(3):
            pending.look(job("QOSGrpGRES", job_id=str(number)), "sample")
        return pending.hopeless("")

    assert poll(0) == {}
    assert poll(SECONDS_UNTIL_SAID) == {}
    assert asked == ["0"]
    assert poll(SECONDS_BETWEEN_MESSAGES - 1) == {}
    assert asked == ["0"]
    answer[0] = "GrpTRES of QoS a is gres/gpu=0, too low"
    assert set(poll(1)) == {"0", "1", "2"}
