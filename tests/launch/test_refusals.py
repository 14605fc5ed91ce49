"""What sbatch's refusals mean: Slurm away, a limit that passes, or final with the place to mend."""

import pytest

from prime_core.launch.slurm.refusals import read

GENERAL = (
    "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's "
    "size and/or time limits)"
)


def sbatch(*errors: str) -> str:
    return "".join(f"sbatch: error: {error}\n" for error in errors)


@pytest.mark.parametrize(
    "said",
    [
        "Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "Batch job submission failed: Socket timed out on send/recv operation",
        "Batch job submission failed: Zero Bytes were transmitted or received",
        "Batch job submission failed: Slurm backup controller in standby mode",
        'Munge encode failed: Failed to access "/run/munge/munge.socket.2"',
        "Batch job submission failed: Resource temporarily unavailable",
        "Slurm temporarily unable to accept job, sleeping and retrying",
        "Batch job submission failed: Unexpected message received",
    ],
)
def test_a_slurm_that_is_away_is_told_from_one_that_refuses(said):
    assert read(sbatch(said)).kind == "away"


@pytest.mark.parametrize(
    "name",
    [
        "QOSMaxSubmitJobPerUserLimit",
        "QOSGrpSubmitJobsLimit",
        "AssocMaxSubmitJobLimit",
        "AssocGrpSubmitJobsLimit",
        "MaxSubmitJobsPerAccount",
    ],
)
def test_limits_on_queued_jobs_pass(name):
    refusal = read(sbatch(name, GENERAL))
    assert (refusal.kind, refusal.limit, refusal.passes) == ("limit", name, True)
    assert "no more jobs in the queue at a time are allowed to" in refusal.explained("cpu")
    assert refusal.is_of_user == ("Grp" not in name and "Account" not in name)


@pytest.mark.parametrize(
    "said",
    [GENERAL, "You have too many jobs queued; come back later", "Reached the job limit of group a"],
)
def test_a_limit_without_a_name_and_a_sites_own_words_pass_as_well(said):
    refusal = read(sbatch(said))
    assert (refusal.kind, refusal.limit) == ("limit", "")


def test_limits_of_a_single_job_are_final_though_the_sentence_is_the_same():
    refusal = read(sbatch("QOSMaxWallDurationPerJobLimit", GENERAL))
    assert refusal.kind == "final"
    assert "it asks for more time than its QoS allows one job" in refusal.explained("gpu")


@pytest.mark.parametrize(
    ("errors", "place"),
    [
        (["Invalid account or account/partition combination specified"], "gpu.account in"),
        (["invalid partition specified: a", "Invalid partition name specified"], "gpu.partition"),
        (["Invalid qos specification"], "gpu.qos in site.yaml"),
        (["Requested reservation is invalid"], "gpu.extra in site.yaml"),
        (["Invalid feature specification"], "gpu.constraint in site.yaml"),
        (["Memory specification can not be satisfied"], "gpu.max_mem_mb in site.yaml"),
        (["Requested GRES option unsupported by configured SelectType plugin"], "gpu.gpu_model"),
        (["Requested time limit is invalid (missing or exceeds some limit)"], "gpu.max_minutes"),
        (["Requested node configuration is not available"], "what the stage asks for"),
        (["Access denied by site policy 4711"], "see gpu in site.yaml"),
    ],
)
def test_a_final_refusal_has_slurms_words_and_the_place_to_mend(errors, place):
    failed = "Batch job submission failed: "
    refusal = read(sbatch(*errors[:-1], failed + errors[-1]))
    assert (refusal.kind, refusal.passes) == ("final", False)
    explained = refusal.explained("gpu")
    assert explained.startswith("; ".join(errors))
    assert place in explained


def test_only_errors_are_quoted_of_what_a_site_prints_and_all_where_nothing_is_marked():
    banner = "Welcome to our cluster!\nRead the rules.\n"
    assert read(banner + sbatch("Invalid qos specification")).said == "Invalid qos specification"
    assert read("/bin/sh: 1: sbatch: not found\n").said == "/bin/sh: 1: sbatch: not found"
    assert read("").said == "sbatch failed without a word"


def test_the_plugins_message_is_looked_through():
    said = sbatch("Batch job submission failed: Invalid qos specification").strip()
    message = f"SLURM sbatch failed. The error message was '{said}'.\n    sbatch call:\n        x\n"
    assert read(message).said == "Invalid qos specification"
    slurms = "SLURM job submission failed. The error message was sbatch: error: Invalid qos"
    refusal = read(f"Job submission failed with exception: {slurms}")
    assert (refusal.said, refusal.kind) == ("Invalid qos", "final")


def test_what_broke_on_this_side_of_slurm_is_no_refusal():
    refusal = read("Job submission failed with exception: [Errno 28] No space left on device: 'a'")
    assert (refusal.said, refusal.kind) == ("[Errno 28] No space left on device: 'a'", "broken")
