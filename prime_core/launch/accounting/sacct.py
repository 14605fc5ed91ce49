"""What jobs held and for how long: from sacct (Slurm's accounting) and squeue (its memory).

In: ids of jobs, or their names. Out: their starts, in seconds since 1970 whatever the time zone.
Raises SlurmError where Slurm does not answer.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime

from prime_core.launch.slurm import commands as slurm
from prime_core.run.costs import JobStart

TIMEOUT = 30.0  # seconds; sacct may hang where there is no accounting
_NUM_ASKED = 500  # ids in one command: some kilobytes
_SACCT = (
    "JobIDRaw",
    "State",
    "ExitCode",
    "Submit",
    "Eligible",
    "Start",
    "End",
    "TimelimitRaw",
    "AllocTRES",
    "JobName",  # last: it may hold the separator
)
# Only --Format has exit_code and tres-alloc; it pads columns where -o separates them.
_SQUEUE = {  # column -> its width
    "JobID": 20,
    "State": 20,
    "exit_code": 12,
    "SubmitTime": 24,
    "EligibleTime": 24,
    "StartTime": 24,
    "EndTime": 24,
    "TimeLimit": 24,
    "NumNodes": 10,
    "tres-per-node": 200,
    "tres-alloc": 400,
    "Name": 200,
}
ENDED = {
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "DEADLINE",
    "BOOT_FAIL",
    "PREEMPTED",
    "REQUEUED",
    "REVOKED",
}
# Local times otherwise, of which an hour comes twice when clocks are set back.
_EPOCH = {"SLURM_TIME_FORMAT": "%s"}


def accounted(job_ids: Sequence[str], since: float, timeout: float = TIMEOUT) -> list[JobStart]:
    """All starts of these jobs that Slurm's accounting knows, those after a requeue one by one.

    since: when the first of them was submitted (seconds since 1970); timeout: seconds per command.
    """
    # Two days early: Slurm's clock may differ, and it reads the day in its local time.
    day = datetime.fromtimestamp(max(0.0, since - 2 * 86400)).strftime("%Y-%m-%d")
    found = []
    for first in range(0, len(job_ids), _NUM_ASKED):
        some = job_ids[first : first + _NUM_ASKED]
        out = slurm.call(
            # Without --duplicates only the latest start of a requeued job is listed.
            *("sacct", "--allocations", "--duplicates", "--parsable2", "--noheader"),
            *(f"--starttime={day}", f"--jobs={','.join(some)}", f"--format={','.join(_SACCT)}"),
            timeout=timeout,
            **_EPOCH,
        )
        found += parse_sacct(out)
    return found


def remembered(names: Sequence[str], timeout: float = TIMEOUT) -> list[JobStart]:
    """The latest start of each job of these names that is queued, running or has just ended."""
    columns = ",".join(f"{column}:{width}" for column, width in _SQUEUE.items())
    out = slurm.call(
        *(
            "squeue",
            "--noheader",
            "--states=all",
            # By user as well, or Slurm would send the whole cluster's jobs.
            f"--user={os.getuid()}",
            f"--name={','.join(names)}",
            f"--Format={columns}",
        ),
        timeout=timeout,
        **_EPOCH,
    )
    return parse_squeue(out)


def parse_sacct(out: str) -> list[JobStart]:
    """Starts from lines of the columns _SACCT."""
    found = []
    for line in out.splitlines():
        fields = line.split("|", len(_SACCT) - 1)
        if len(fields) < len(_SACCT):
            continue
        row = dict(zip(_SACCT, fields, strict=True))
        minutes = row["TimelimitRaw"]
        found.append(
            JobStart(
                job_id=row["JobIDRaw"],
                name=row["JobName"],
                state=_word(row["State"]),  # "CANCELLED by 1000"
                exit_status=int(row["ExitCode"].partition(":")[0] or 0),
                submitted=_time(row["Submit"]) or 0.0,
                eligible=_time(row["Eligible"]),
                started=_time(row["Start"]) if row["AllocTRES"] else None,  # ended in the queue
                ended=_time(row["End"]),
                cpus=tres_count(row["AllocTRES"], "cpu"),
                gpus=tres_count(row["AllocTRES"], "gres/gpu"),
                limit=60.0 * int(minutes) if minutes.isdigit() else None,
                source="sacct",
            )
        )
    return found


def parse_squeue(out: str) -> list[JobStart]:
    """Starts from lines of the columns _SQUEUE."""
    found = []
    for line in out.splitlines():
        row, begin = {}, 0
        for column, width in _SQUEUE.items():
            # Cut by width: empty columns are blanks, so that words cannot be counted.
            row[column], begin = line[begin : begin + width].strip(), begin + width
        state, started, ended = row["State"], _time(row["StartTime"]), _time(row["EndTime"])
        if state not in ("COMPLETING", *ENDED):
            ended = None  # squeue shows when the time limit would end it
        if state == "PENDING" or (ended is not None and started == ended and state != "COMPLETED"):
            started = None  # only expected; or cancelled in the queue
        seconds = slurm.seconds(row["TimeLimit"])
        gpus = tres_count(row["tres-alloc"], "gres/gpu")
        if not gpus and row["NumNodes"].isdigit():  # where Slurm does not count them
            gpus = int(row["NumNodes"]) * gres_gpus(row["tres-per-node"])
        found.append(
            JobStart(
                job_id=row["JobID"],
                name=row["Name"],
                state=state,
                exit_status=_exit_status(row["exit_code"]),
                submitted=_time(row["SubmitTime"]) or 0.0,
                eligible=_time(row["EligibleTime"]),
                started=started,
                ended=ended,
                cpus=tres_count(row["tres-alloc"], "cpu"),
                gpus=gpus,
                limit=float(seconds) if seconds > 0 else None,
                source="squeue",
            )
        )
    return found


def tres_count(text: str, name: str) -> int:
    """How many of one resource: "cpu=2,gres/gpu=3,gres/gpu:h100=3" -> 3 GPUs.

    Types of a resource stand beside its total, or alone where only they are counted.
    """
    pairs = [pair.partition("=") for pair in text.split(",") if "=" in pair]
    numbers = {key: int(value) for key, _, value in pairs if value.isdigit()}
    kinds = sum(value for key, value in numbers.items() if key.startswith(f"{name}:"))
    # Not the sum of both: where Slurm counts the total as well, each GPU is in it and in its type.
    return numbers.get(name, kinds)


def gres_gpus(text: str) -> int:
    """GPUs of a request as squeue shows it: "gres:gpu:h100:2" -> 2, "gres/gpu:1" -> 1."""
    return sum(_gpus_of_one(part) for part in text.replace("/", ":").split(","))


def _gpus_of_one(part: str) -> int:
    words = part.strip().split("(")[0].replace("=", ":").split(":")
    words = words[1:] if words[0] == "gres" else words
    if words[0] != "gpu":
        return 0
    # A request that names no number is for one.
    return int(words[-1]) if words[-1].isdigit() else 1


def _time(text: str) -> float | None:
    """Seconds since 1970; also of ISO 8601 in local time, which a site's wrapper may force."""
    if text.isdigit():
        return float(text) or None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:  # Unknown, None, N/A
        return None


def _word(text: str) -> str:
    return text.split()[0] if text else ""


def _exit_status(text: str) -> int:
    """squeue shows what wait() gave; a signal's number is negative here."""
    return os.waitstatus_to_exitcode(int(text)) if text.isdigit() else 0
