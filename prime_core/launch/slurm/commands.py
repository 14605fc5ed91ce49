"""Slurm's commands as functions: what is queued, what a job is doing, cancel, requeue.

Only commands that any user may run; nothing is cached.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

# Variables that stand for options of Slurm's commands: SQUEUE_PARTITION hides jobs, SBATCH_ACCOUNT
# charges another account. None is heeded, however the workflow runs: what is asked of Slurm stands
# in the project's files (docs/decisions.md#slurm-variables).
OF_CLIENTS = (
    *("SACCT_", "SACCTMGR_", "SALLOC_", "SATTACH_", "SBATCH_", "SBCAST_", "SCANCEL_", "SCONTROL_"),
    *("SCRONTAB_", "SDIAG_", "SINFO_", "SPRIO_", "SQUEUE_", "SREPORT_", "SRUN_", "SSHARE_"),
    *("SSTAT_", "STRIGGER_", "SVIEW_"),
)
# What a step inherits from its job; a command about another job must not see it.
OF_JOBS = ("SLURM_", "SUBMITIT_")
# Neither an option nor a job's: where a site keeps its configuration, and what proves the user.
_KEPT = ("SLURM_CONF", "SLURM_JWT")
# Free text comes last in scontrol's lines: the first of two fields of one name is Slurm's own.
_FIELD = re.compile(r"(?:^|\s)([A-Za-z_/:]+)=(\S*)")


class SlurmError(ValueError):
    """A Slurm command failed or did not answer."""


class NoCluster(SlurmError):
    """Slurm's commands are installed here, but the machine belongs to no cluster."""


@dataclass(frozen=True)
class QueuedJob:
    """A job as squeue shows it; times in seconds, -1 where there is none (unlimited, unknown).

    start: when it began, or is expected to begin (local time, ISO 8601); "N/A" where unknown.
    """

    job_id: str
    name: str
    state: str
    reason: str
    partition: str
    nodes: str
    elapsed: int
    left: int
    start: str
    comment: str

    @property
    def ended(self) -> bool:
        """Whether it neither runs nor will run again."""
        return self.state not in ALIVE


# PREEMPTED and REQUEUED among them: Slurm may be about to start such a job again.
ALIVE = {
    "PENDING",
    "RUNNING",
    "CONFIGURING",
    "COMPLETING",
    "STAGE_OUT",
    "SUSPENDED",
    "STOPPED",
    "SIGNALING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "SPECIAL_EXIT",
    "RESIZING",
    "PREEMPTED",
}


def is_available() -> bool:
    """Whether Slurm's commands are installed here."""
    return shutil.which("squeue") is not None


def clean_environment() -> dict[str, str]:
    """This process's environment without options of Slurm's commands, and without its own job."""
    return {
        key: value
        for key, value in os.environ.items()
        if key in _KEPT or not key.startswith((*OF_CLIENTS, *OF_JOBS))
    }


def ignored_requests() -> str:
    """A sentence naming variables that ask for something for jobs, and are ignored; "" without."""
    asking = ("SBATCH_", "SALLOC_", "SRUN_")
    names = ", ".join(sorted(name for name in os.environ if name.startswith(asking)))
    return names and (
        f"{names} in the environment: ignored; what jobs ask for stands in site.yaml and in the "
        "table of stages"
    )


def forget_variables(*prefixes: str) -> None:
    """Drop variables that begin so from this process's environment, and so from its jobs'."""
    for name in list(os.environ):
        if name.startswith(prefixes) and name not in _KEPT:
            del os.environ[name]


def call(*command: str, timeout: float = 60.0, **variables: str) -> str:
    """Standard output of a command, with `variables` set in its environment.

    Raises SlurmError with the command's own message.
    """
    environment = clean_environment() | variables
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env=environment
        )
    except FileNotFoundError:
        raise SlurmError(f"{command[0]}: no such command; is Slurm installed here?") from None
    # Not every failure is an exit status: sacct waits forever where there is no accounting.
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{command[0]}: Slurm did not answer within {timeout:.0f} s") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
        # Client packages without a slurm.conf: runs are local on such a machine, and Slurm is not
        # down, which callers would wait out.
        if "Could not establish a configuration source" in said:
            raise NoCluster(f"{command[0]}: this machine belongs to no Slurm cluster")
        raise SlurmError(f"{' '.join(command[:2])}: {said}")
    return done.stdout


def jobs_named(name: str, user: int | None = None) -> list[QueuedJob]:
    """A user's jobs of a name that Slurm still remembers, including those that just ended.

    user: its number, None: this one. Without it Slurm would send the whole cluster's jobs.
    """
    return _queued("--name", name, "--user", str(os.getuid() if user is None else user))


def jobs_numbered(job_ids: Sequence[str]) -> list[QueuedJob]:
    """Jobs by their ids; those that Slurm has forgotten are left out."""
    found = []
    for job_id in job_ids:
        try:
            found += _queued("--jobs", job_id)
        except SlurmError as error:
            # squeue takes a forgotten id for an error; here it is the answer.
            if "Invalid job id" not in str(error):
                raise
    return found


def jobs_of_user() -> list[QueuedJob]:
    """All jobs of this user that have not ended, whatever their names."""
    return [job for job in _queued("--user", str(os.getuid())) if not job.ended]


def details(job_id: str) -> dict[str, str]:
    """Fields of `scontrol show job`: JobState, Account, QOS, TRES, PreemptTime, ..."""
    return fields(call("scontrol", "--oneliner", "show", "job", job_id))


def fields(line: str) -> dict[str, str]:
    """Fields of a line of scontrol's; of a field that occurs twice the first value."""
    found: dict[str, str] = {}
    for key, value in _FIELD.findall(line):
        found.setdefault(key, value)
    return found


def cancel(job_ids: Sequence[str]) -> None:
    """Cancel jobs; an empty list is fine."""
    if job_ids:
        call("scancel", *job_ids)


def requeue(job_id: str) -> None:
    """Stop a running job and requeue it under the same id."""
    call("scontrol", "requeue", job_id)


def _queued(*selection: str) -> list[QueuedJob]:
    # The comment comes last, since it is the one field that may hold the separator.
    fields = "%i|%j|%T|%r|%P|%N|%M|%L|%S|%k"
    # All states: squeue otherwise hides ended jobs, which Slurm remembers for MinJobAge.
    out = call("squeue", "--noheader", "--states=all", f"--format={fields}", *selection)
    jobs = []
    for line in out.splitlines():
        parts = line.split("|", 9)
        if len(parts) == 10:
            job_id, name, state, reason, partition, nodes, elapsed, left, start, comment = parts
            texts = (job_id, name, state, reason, partition, nodes)
            jobs.append(QueuedJob(*texts, seconds(elapsed), seconds(left), start, comment))
    return jobs


def seconds(text: str) -> int:
    """Seconds of Slurm's [days-][[hours:]minutes:]seconds; -1 for UNLIMITED and the like."""
    days, _, clock = text.strip().rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in parts) or (days and not days.isdigit()):
        return -1
    total = 0
    for part in parts:
        total = total * 60 + int(part)
    return total + 86400 * int(days or 0)
