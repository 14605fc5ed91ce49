"""Slurm's reasons in words: each says what is waited for and what a user can do."""

import pytest

from prime_core.launch.slurm.reasons import explained, is_limit_on_submissions

# Of squeue(1), JOB REASON CODES, and what later versions have added.
WAITS = ["None", "", "Priority", "Resources", "BeginTime", "Dependency", "Licenses", "Reservation"]
WAITS += ["ReqNodeNotAvail, UnavailableNodes:gpu[1-2]", "PartitionDown", "PartitionInactive"]
WAITS += [
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority",
    "Prolog",
]
LIMIT = ["AssocGrpCpuLimit", "AssocGrpGRES", "AssocGrpJobsLimit", "AssocGrpMemLimit"]
LIMIT += ["AssocGrpNodeLimit", "AssocMaxJobsLimit", "AssocGrpCPUMinutesLimit", "AssocGrpBilling"]
LIMIT += ["QOSGrpCPURunMinutesLimit", "QOSGrpGRES", "QOSGrpGRESMinutes", "QOSGrpWallLimit"]
LIMIT += ["QOSMaxCpuPerUserLimit", "QOSMaxGRESPerUser", "QOSMaxJobsPerUserLimit", "QOSJobLimit"]
LIMIT += ["QOSMaxMemoryPerUser", "QOSMaxNodePerUserLimit", "MaxGRESPerAccount", "MaxJobsPerAccount"]
LIMIT += ["AssociationJobLimit", "QOSResourceLimit", "QOSMaxBillingPerUser", "MaxMemoryPerAccount"]
HELD = ["JobHeldUser", "JobHeldAdmin", "launch failed requeued held", "JobHoldMaxRequeue"]
NEVER = ["PartitionTimeLimit", "PartitionNodeLimit", "PartitionConfig", "BadConstraints"]
NEVER += ["AccountNotAllowed", "QOSNotAllowed", "InvalidAccount", "InvalidQOS", "QOSMinGRES"]
NEVER += ["QOSMaxCpuPerJobLimit", "QOSMaxGRESPerJob", "QOSMaxWallDurationPerJobLimit"]
NEVER += ["AssocMaxWallDurationPerJobLimit", "AssocMaxGRESPerNode", "QOSMinCpuNotSatisfied"]
NEVER += ["DependencyNeverSatisfied", "ReservationDeleted", "AssocMaxCpuMinutesPerJobLimit"]
FATES = {"waits": WAITS, "limit": LIMIT, "held": HELD, "never": NEVER}


@pytest.mark.parametrize(
    ("name", "fate"), [(name, fate) for fate, names in FATES.items() for name in names]
)
def test_every_reason_of_slurms_manual_is_explained(name, fate):
    reason = explained(name, "7")
    assert reason.fate == fate
    assert reason.words != "Slurm's own word"
    assert reason.advice
    assert "{" not in str(reason)
    assert str(reason).startswith(f"{name or 'None'}: ")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("QOSMaxGRESPerUser", "no more GPUs at a time are allowed to your jobs in its QoS"),
        ("QOSGrpMemLimit", "no more memory at a time is allowed to all jobs of its QoS"),
        ("AssocMaxJobsLimit", "no more running jobs at a time are allowed to your jobs in its"),
        ("MaxCpuPerAccount", "no more processors at a time are allowed to an account's jobs"),
        ("AssocGrpGRESMinutes", "the time that all jobs of its account may hold GPUs is used up"),
        ("QOSMaxWallDurationPerJobLimit", "it asks for more time than its QoS allows one job"),
    ],
)
def test_names_of_limits_are_read_word_by_word(name, words):
    assert explained(name, "7").words.startswith(words)


def test_a_held_job_is_told_by_its_number():
    assert "`scontrol release 7`" in explained("JobHeldUser", "7").advice


def test_an_unknown_reason_says_where_to_look():
    reason = explained("FedJobLock", "7")
    assert str(reason) == "FedJobLock: Slurm's own word; see `scontrol show job 7`"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("QOSMaxSubmitJobPerUserLimit", True),
        ("AssocMaxSubmitJobLimit", True),
        ("AssocGrpSubmitJobsLimit", True),
        ("MaxSubmitJobsPerAccount", True),
        ("QOSMaxWallDurationPerJobLimit", False),
        ("Invalid account", False),
    ],
)
def test_limits_on_queued_jobs_are_told_from_those_of_a_job(name, is_one):
    assert is_limit_on_submissions(name) == is_one
