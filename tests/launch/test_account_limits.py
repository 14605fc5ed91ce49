"""Limits as numbers: which will never let a job pass, by what sacctmgr and scontrol print."""

import pytest

from prime_core.launch.slurm import account_limits
from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.account_limits import asked_by, asked_of, never

# Of scontrol 22.05 and 24.11.
JOBS = {
    "7": "JobId=7 JobName=a Account=maths QOS=tight Partition=gpu TimeLimit=02:00:00 "
    "TRES=cpu=4,mem=8G,node=1,billing=4,gres/gpu=2 Comment=QOS=other",
    "1": "JobId=1 JobName=c Account=maths QOS=tight Partition=cpu TimeLimit=1-00:00:00 "
    "ReqTRES=cpu=1,mem=2000M,node=1,billing=1 AllocTRES=cpu=2,mem=2000M",
}


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Limits by their column, as "whose=number"; a test fills it."""
    values: dict[str, str] = {}

    def call(*command: str, **_options: object) -> str:
        if command[:4] == ("scontrol", "--oneliner", "show", "job"):
            return JOBS[command[-1]]
        if command[0] == "scontrol":
            return "PartitionName=gpu QoS=of_gpu MaxTime=1-0"
        column = command[-1].rpartition(",")[2].removeprefix("format=")
        if command[5] == "qos":
            rows = ("normal", "tight", "of_gpu")
            return "".join(f"{name}|{values.get(f'{column} {name}', '')}\n" for name in rows)
        if command[5] == "user":
            return "maths\n"
        if command[-1] == "format=defaultqos":
            return "tight\n"
        account = next(word for word in command if word.startswith("account="))[8:]
        parent = {"maths": "science", "science": "root"}.get(account, "")
        own, mine = (values.get(f"{column} {account}{user}", "") for user in ("", " me"))
        return f"|{parent}|{own}\nme||{mine}\nyou||0\n"

    monkeypatch.setattr(slurm, "call", call)
    monkeypatch.setattr(account_limits, "_user", lambda: "me")
    return values


@pytest.mark.parametrize(
    ("name", "column", "number", "why"),
    [
        ("QOSGrpGRES", "GrpTRES tight", "gres/gpu=1", "is gres/gpu=1, too low for the 2 that"),
        ("QOSGrpGRES", "GrpTRES of_gpu", "gres/gpu=0", "GrpTRES of QoS of_gpu is gres/gpu=0"),
        ("QOSGrpGRES", "GrpTRES tight", "gres/gpu=2", ""),
        ("QOSGrpGRES", "GrpTRES normal", "gres/gpu=0", ""),
        ("QOSGrpMemLimit", "GrpTRES tight", "cpu=1,mem=7G", "too low for the 8192 that"),
        ("QOSMaxCpuPerUserLimit", "MaxTRESPU tight", "cpu=3", "too low for the 4"),
        ("MaxCpuPerAccount", "MaxTRESPA tight", "cpu=4", ""),
        ("QOSMaxJobsPerUserLimit", "MaxJobsPU tight", "0", "so that no job passes"),
        ("QOSMaxJobsPerUserLimit", "MaxJobsPU tight", "1", ""),
        ("AssocGrpGRES", "GrpTRES science", "gres/gpu=1", "GrpTRES of account science is"),
        ("AssocMaxJobsLimit", "MaxJobs maths me", "0", "MaxJobs of account maths, user me is 0"),
        ("AssocMaxJobsLimit", "MaxJobs maths", "0", ""),  # only the default of the users' own
        ("AssocGrpCPUMinutesLimit", "GrpTRESMins maths", "cpu=479", "too low for the 480 that"),
        ("QOSGrpCPURunMinutesLimit", "GrpTRESRunMins tight", "cpu=480", ""),
        ("Priority", "GrpTRES tight", "cpu=0", ""),
    ],
)
def test_a_limit_below_what_a_job_asks_for_never_lets_it_pass(name, column, number, why, numbers):
    numbers[column] = number
    said = never(name, asked_by("7"), "")
    assert bool(said) == bool(why)
    assert why in said


@pytest.mark.parametrize(
    ("name", "column", "number"),
    [
        ("QOSMaxSubmitJobPerUserLimit", "MaxSubmitPU tight", "1"),
        ("AssocMaxSubmitJobLimit", "MaxSubmit maths me", "1"),
        ("QOSMaxJobsPerUserLimit", "MaxJobsPU tight", "1"),
        ("QOSGrpCpuLimit", "GrpTRES tight", "cpu=4"),
    ],
)
def test_what_the_controllers_own_job_takes_up_is_not_there(name, column, number, numbers):
    numbers[column] = number
    assert never(name, asked_by("7"), "") == ""
    assert "the run's own controller job takes a part" in never(name, asked_by("7"), "1")


def test_of_a_job_that_was_not_taken_the_users_defaults_are_asked_for(numbers):
    numbers["MaxSubmitPU tight"] = "0"
    assert asked_of("", "", "gpu").account == "maths"
    assert "MaxSubmitPU of QoS tight is 0" in never(
        "QOSMaxSubmitJobPerUserLimit", asked_of("", "", ""), ""
    )


def test_where_the_database_is_closed_nothing_is_known(monkeypatch):
    def refuse(*_command: str, **_options: object) -> str:
        raise slurm.SlurmError("Access/permission denied")

    monkeypatch.setattr(slurm, "call", refuse)
    assert never("QOSGrpSubmitJobsLimit", asked_of("", "", ""), "") == ""
