"""Which failed jobs were ended from outside, by what scontrol shows of them."""

import pytest

from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.interruptions import cause

JOB = "JobId=7 JobName=a JobState={state} StartTime=2026-11-30T16:52:40 PreemptTime={preempted} "
JOB += "NodeList=gpu[1-2] TRES=cpu=1 Comment=JobState=FAILED"
BEFORE, AFTER = "2026-11-30T16:52:39", "2026-11-30T16:52:42"


@pytest.mark.parametrize(
    ("state", "preempted", "second_node", "expected"),
    [
        ("FAILED", "None", "IDLE", ""),
        ("FAILED", AFTER, "IDLE", "it was pre-empted"),
        ("CANCELLED", AFTER, "IDLE", "it was pre-empted"),
        # Of an earlier start of the job, which Slurm had put back.
        ("FAILED", BEFORE, "IDLE", ""),
        ("OUT_OF_MEMORY", AFTER, "IDLE", ""),
        ("TIMEOUT", AFTER, "DOWN", ""),
        ("FAILED", "None", "DOWN*", "its node gpu2 failed"),
        ("FAILED", "None", "IDLE+NOT_RESPONDING", "its node gpu2 failed"),
        ("FAILED", "None", "MIXED+DRAIN", ""),
        ("CANCELLED", "None", "DOWN*", ""),
    ],
)
def test_preemptions_and_dead_nodes_are_told_from_failures(
    state, preempted, second_node, expected, monkeypatch
):
    def call(*command: str) -> str:
        if command[3] == "job":
            return JOB.format(state=state, preempted=preempted)
        assert command[4] == "gpu[1-2]"
        return f"NodeName=gpu1 State=IDLE\nNodeName=gpu2 State={second_node} Comment=State=DOWN\n"

    monkeypatch.setattr(slurm, "call", call)
    assert cause("7") == expected


def test_where_slurm_does_not_say_it_is_a_failure(monkeypatch):
    def refuse(*_command: str) -> str:
        raise slurm.SlurmError("slurm_load_jobs error: Invalid job id specified")

    monkeypatch.setattr(slurm, "call", refuse)
    assert cause("7") == ""
