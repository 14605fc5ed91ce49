"""Why Slurm has not started a job, in words: what it waits for, and what a user can do.

In: a reason as squeue spells it (squeue(1), JOB REASON CODES). Out: a Reason. Limits have names of
their own grammar, such as QOSMaxGRESPerUser, which is read; the rest is a table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

# What becomes of the job: it starts by itself; when others free what a limit counts; when a person
# acts; never, as it was asked for.
Fate = Literal["waits", "limit", "held", "never"]

_NEEDS = "cluster_profiles/stages.yaml"
_SITE = "site.yaml"
_NOTHING = "it starts by itself"


@dataclass(frozen=True)
class Reason:
    """words: what the job waits for, a clause; advice: what a user can do, a clause."""

    name: str
    words: str
    advice: str
    fate: Fate

    def __str__(self) -> str:
        return f"{self.name}: {self.words}; {self.advice}"


_Row = tuple[str, str, str, Fate]
_TABLE: tuple[_Row, ...] = (
    (r"none", "Slurm has not considered the job yet", _NOTHING, "waits"),
    (
        r"priority",
        "jobs of higher priority are ahead in the queue",
        f"{_NOTHING}, sooner with fewer GPUs, less memory or a shorter time limit ({_NEEDS})",
        "waits",
    ),
    (
        r"resources|nodes? ?busy|scheddefer",
        "the nodes it could run on are in use",
        f"{_NOTHING}, sooner with fewer GPUs, less memory or a shorter time limit ({_NEEDS})",
        "waits",
    ),
    (
        r"begintime",
        "it was put back into the queue, and Slurm starts such a job only after about two minutes",
        _NOTHING,
        "waits",
    ),
    (r"cleaning|prolog|configuring", "its last start is still being cleaned up", _NOTHING, "waits"),
    (
        r"reqnodenotavail.*|nodes required for job are down.*|nodedown|frontenddown",
        "the nodes it could run on are down, drained, or reserved, often for maintenance",
        "see `sinfo -R` and `scontrol show reservation`; a job that ends before a maintenance "
        f"begins starts sooner (runtime in {_NEEDS})",
        "waits",
    ),
    (
        r"partition(down|inactive)",
        "its partition is closed",
        f"wait until it is opened (`sinfo`), or name another one in {_SITE}",
        "waits",
    ),
    (r"reservation", "its reservation has not begun", "see `scontrol show reservation`", "waits"),
    (r"licenses", "licences that it asks for are in use", _NOTHING, "waits"),
    (r"burstbuffer.*", "its burst buffer is being prepared", _NOTHING, "waits"),
    (r"dependency|jobarraytasklimit", "jobs before it have not ended", _NOTHING, "waits"),
    (
        r"jobheldadmin",
        "an administrator holds it",
        "ask the site's administrators",
        "held",
    ),
    (
        r"jobhelduser|.*held.*|jobholdmaxrequeue|specialexit",
        "it is held",
        "`scontrol release {job}` lets it start, `scancel {job}` has it submitted again",
        "held",
    ),
    (
        r"partitiontimelimit|timelimit|associationtimelimit|qostimelimit",
        "its time limit is longer than its partition, QoS or account allows",
        f"lower its runtime ({_NEEDS}), or set max_minutes in {_SITE}",
        "never",
    ),
    (
        r"partition(nodelimit|config)|badconstraints",
        "no node of its partition has what it asks for",
        f"ask for less ({_NEEDS}), or name another partition or constraint in {_SITE}",
        "never",
    ),
    (
        r"invalidaccount|accountnotallowed|accountingpolicy",
        "its account may not be used there",
        f"name another account or partition in {_SITE}",
        "never",
    ),
    (
        r"invalidqos|qosnotallowed",
        "its QoS may not be used there",
        f"name another qos or partition in {_SITE}",
        "never",
    ),
    (
        r"reservationdeleted",
        "its reservation is gone",
        f"name another one in {_SITE}",
        "never",
    ),
    (r"deadline|dependencyneversatisfied", "what it waits for cannot happen", "cancel it", "never"),
    (
        r"(assoc|association|qos)(job|resource)limit|qosusagethreshold",
        "its QoS or account has reached a limit",
        "it starts when other jobs of that QoS or account have ended",
        "limit",
    ),
)
_LIMIT = re.compile(
    r"(?P<of>QOS|Assoc)?(?P<kind>Grp|Max|Min)"
    r"(?P<what>Submit|Jobs?|CPU|Cpu|GRES|Memory|Mem|Node|Wall|Billing|BB|Energy|License|TRES)"
    r"(?P<rest>\w*)"
)
_THINGS = {
    "CPU": "processors",
    "Cpu": "processors",
    "GRES": "GPUs",
    "Mem": "memory",
    "Memory": "memory",
    "Node": "nodes",
    "Billing": "billing units",
    "BB": "burst buffers",
    "Energy": "energy",
    "License": "licences",
    "Wall": "time",
}


def explained(name: str, job_id: str) -> Reason:
    """What a job's reason means; one that is not known says where to look it up."""
    name = name.strip() or "None"
    # As versions of Slurm spell it, with blanks or underscores.
    spelled = name.replace("_", " ")
    for pattern, words, advice, fate in _TABLE:
        if re.fullmatch(pattern, spelled, re.IGNORECASE):
            return Reason(name, words, advice.format(job=job_id), fate)
    limit = _LIMIT.fullmatch(name)
    if limit:
        return _of_limit(name, limit)
    return Reason(name, "Slurm's own word", f"see `scontrol show job {job_id}`", "waits")


def is_limit_on_submissions(name: str) -> bool:
    """Whether sbatch's name of a limit is one on jobs in the queue, which others leave in time."""
    limit = _LIMIT.fullmatch(name)
    return limit is not None and limit["what"] == "Submit"


def _of_limit(name: str, limit: re.Match[str]) -> Reason:
    of = "account" if limit["of"] == "Assoc" else "QoS"
    what, rest, whose = limit["what"], limit["rest"], _whose(limit, of)
    if limit["kind"] == "Min":
        return Reason(
            name,
            f"it asks for less than its {of} demands",
            f"ask for more ({_NEEDS}), or name another qos in {_SITE}",
            "never",
        )
    # A limit of a single job: nothing that others do lets it start.
    if "PerJob" in rest or "PerNode" in rest:
        return Reason(
            name,
            f"it asks for more {_THINGS.get(what, 'resources')} than its {of} allows one job",
            f"ask for less ({_NEEDS}; max_minutes and max_mem_mb in {_SITE}), or name another qos "
            f"or account in {_SITE}",
            "never",
        )
    if what == "Wall" or re.search(r"(?<!Run)Minutes", rest):
        return Reason(
            name,
            f"the time that {whose} may hold {_THINGS.get(what, 'resources')} is used up",
            f"ask the group's manager for more, or charge another account ({_SITE})",
            "limit",
        )
    return Reason(
        name,
        f"no more {_counted(what)} at a time {'is' if 'Mem' in what else 'are'} allowed to {whose}",
        "it starts when some of these jobs have ended",
        "limit",
    )


def _whose(limit: re.Match[str], of: str) -> str:
    if "PerAccount" in limit["rest"]:
        return "an account's jobs in the QoS"
    if limit["kind"] == "Grp":
        return f"all jobs of its {of}"
    return f"your jobs in its {of}"


def _counted(what: str) -> str:
    if what.startswith("Job"):
        return "running jobs"
    if what == "Submit":
        return "jobs in the queue"
    return _THINGS.get(what, "resources")
