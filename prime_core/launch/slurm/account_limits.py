"""Limits of QoS and accounts as numbers, to tell one that passes from one that never will.

In: the name of a limit (QOSGrpGRES, AssocMaxSubmitJobLimit, ...), whose job it is, what it asks
for. Out: a sentence where the limit is below that even with nobody else's jobs. sacctmgr is asked;
where it is closed or missing, nothing is known. Asked rarely: for a job that has waited for long.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.commands import SlurmError

_TIMEOUT = 10.0
_MAX_DEPTH = 10  # of accounts within accounts
# Limits by whose jobs they count: sacctmgr's columns for resources, running and queued jobs.
_QOS_COLUMNS = {
    "Grp": ("GrpTRES", "GrpJobs", "GrpSubmit", "GrpTRESMins", "GrpTRESRunMins"),
    "PerUser": ("MaxTRESPU", "MaxJobsPU", "MaxSubmitPU", "", ""),
    "PerAccount": ("MaxTRESPA", "MaxJobsPA", "MaxSubmitPA", "", ""),
}
_ACCOUNT_COLUMNS = {
    "Grp": ("GrpTRES", "GrpJobs", "GrpSubmit", "GrpTRESMins", "GrpTRESRunMins"),
    "PerUser": ("MaxTRES", "MaxJobs", "MaxSubmit", "", ""),
}
_LIMIT = re.compile(
    r"(?P<of>QOS|Assoc)?(?P<kind>Grp|Max)(?P<what>Submit|Job|CPU|Cpu|GRES|Mem|Node|Billing)"
    r"(?P<rest>\w*)"
)
_TRES = {
    "CPU": "cpu",
    "Cpu": "cpu",
    "GRES": "gres/gpu",
    "Mem": "mem",
    "Node": "node",
    "Billing": "billing",
}


@dataclass(frozen=True)
class Asked:
    """What a job asks for. account, qos: as Slurm knows them, "" where it does not say; tres:
    amounts by Slurm's names, memory in MB; minutes: its time limit, 0: none.
    """

    account: str
    qos: str
    partition: str
    tres: Mapping[str, float]
    minutes: float


def asked_by(job_id: str) -> Asked:
    """What a queued job asks for. Raises SlurmError."""
    shown = slurm.details(job_id)
    return Asked(
        account=shown.get("Account", ""),
        qos=shown.get("QOS", ""),
        partition=shown.get("Partition", ""),
        # ReqTRES from Slurm 23.11 on, which shows beside it what a job has got.
        tres=_amounts(shown.get("ReqTRES") or shown.get("TRES", "")),
        minutes=max(slurm.seconds(shown.get("TimeLimit", "")), 0) / 60,
    )


def asked_of(account: str, qos: str, partition: str) -> Asked:
    """What sbatch was asked for, with the user's defaults where nothing was said."""
    try:
        if not account:
            account = next(iter(_ask("user", "defaultaccount", f"user={_user()}")), "")
        if not qos:
            own = (f"user={_user()}", f"account={account}")
            qos = next(iter(_ask("assoc", "defaultqos", *own)), "")
    except SlurmError:
        pass
    return Asked(account, qos, partition, {}, 0.0)


def never(name: str, asked: Asked, controller: str) -> str:
    """Why a limit of this name will never let the job pass, as a clause; "" where it may.

    controller: id of the run's own controller job, which holds what it has until this job has run;
    "" where it is none.
    """
    limit = _LIMIT.fullmatch(name)
    if limit is None:
        return ""
    try:
        taken = _taken(limit, asked, controller)
        for whose, column, value in _numbers(limit, asked):
            if said := _too_low(limit, value, asked, taken):
                return f"{column} of {whose} is {value}, {said}"
    except SlurmError:  # closed to users at some sites, and absent without accounting
        return ""
    return ""


def _taken(limit: re.Match[str], asked: Asked, controller: str) -> Asked | None:
    """What the controller holds of the limit; None: nothing."""
    holds = asked_by(controller) if controller else None
    if holds is None:
        return None
    same = holds.account == asked.account if limit["of"] == "Assoc" else holds.qos == asked.qos
    return holds if same else None


def _too_low(limit: re.Match[str], value: str, asked: Asked, taken: Asked | None) -> str:
    beside = ", of which the run's own controller job takes a part" if taken else ""
    if limit["what"] in ("Submit", "Job"):
        left = int(value) - bool(taken) if value.isdigit() else 1
        return "" if left > 0 else f"so that no job passes{beside}"
    tres, minutes = _TRES[limit["what"]], "Minutes" in limit["rest"]
    allowed, wanted = _amounts(value).get(tres), asked.tres.get(tres, 0.0)
    if allowed is None:
        return ""
    if minutes:
        wanted *= asked.minutes
    elif taken:
        allowed -= taken.tres.get(tres, 0.0)
    return f"too low for the {wanted:g} that it asks for{beside}" if wanted > allowed else ""


def _numbers(limit: re.Match[str], asked: Asked) -> Iterator[tuple[str, str, str]]:
    """Whose limit, its column, its number as sacctmgr writes it."""
    per = "Grp" if limit["kind"] == "Grp" else "PerUser"
    per = "PerAccount" if "PerAccount" in limit["rest"] else per
    of_account = limit["of"] == "Assoc"
    columns = (_ACCOUNT_COLUMNS if of_account else _QOS_COLUMNS).get(per)
    if columns is None:
        return
    tres, jobs, submitted, minutes, running_minutes = columns
    column = {"Submit": submitted, "Job": jobs}.get(limit["what"], tres)
    if "Minutes" in limit["rest"]:
        column = running_minutes if "RunMinutes" in limit["rest"] else minutes
    if not column:
        return
    if of_account:
        rows = _of_accounts(asked.account, column, with_parents=per == "Grp")
    else:
        rows = _of_qos(asked, column)
    for whose, value in rows:
        if value:
            yield whose, column, value


def _of_qos(asked: Asked, column: str) -> Iterator[tuple[str, str]]:
    names = {asked.qos or "normal"}
    if asked.partition:  # which may have a QoS of its own, whose limits count as well
        shown = slurm.call("scontrol", "--oneliner", "show", "partition", asked.partition)
        names.add(slurm.fields(shown).get("QoS", ""))
    for line in _ask("qos", f"name,{column}"):
        name, value = line.split("|")[:2]
        if name in names:
            yield f"QoS {name}", value


def _of_accounts(account: str, column: str, with_parents: bool) -> Iterator[tuple[str, str]]:
    """The user's own limit in an account; with_parents: those of all accounts above it, too."""
    user = _user()
    for _ in range(_MAX_DEPTH if with_parents else 1):
        parent = ""
        for line in _ask("assoc", f"user,parentname,{column}", f"account={account}"):
            of, above, value = line.split("|")[:3]
            # What an account says of single users is only the default of their own.
            if of == user or (with_parents and not of):
                parent = parent or above
                yield f"account {account}" + f", user {of}" * bool(of), value
        if not parent:
            return
        account = parent


def _ask(what: str, columns: str, *where: str) -> list[str]:
    selected = ("where", *where) if where else ()
    command = ("sacctmgr", "--noheader", "--parsable2", "--readonly", "show", what, *selected)
    return slurm.call(*command, f"format={columns}", timeout=_TIMEOUT).splitlines()


def _amounts(text: str) -> dict[str, float]:
    """ "cpu=2,mem=4G,gres/gpu=1" -> amounts; memory in MB."""
    units = {"K": 2.0**-10, "M": 1.0, "G": 2.0**10, "T": 2.0**20}
    found = {}
    for pair in text.split(","):
        key, _, value = pair.partition("=")
        if match := re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", value):
            found[key] = float(match[1]) * (units[match[2]] if match[2] else 1.0)
    return found


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
