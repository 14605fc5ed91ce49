"""From how a program ended to a verdict."""

import reprlib
import signal
from typing import Any, NamedTuple

from ..verdict import Verdict
from .worker import Run, WorkerDied


class Finding(NamedTuple):
    """A verdict, why, and the outcome where the verdict alone does not say it."""

    verdict: Verdict
    detail: str
    outcome: float | None = None


PASSED = Finding(Verdict.correct, "")
NO_PERMISSION = "PermissionError: [Errno 1]"  # what the system-call filter answers
REASONS: dict[str, Finding] = {
    "wall": Finding(Verdict.timeout, "exceeded the wall-clock limit"),
    "cpu": Finding(Verdict.timeout, "exceeded the limit of CPU time"),
    "memory": Finding(Verdict.memory, "exceeded the memory limit"),
    "processes": Finding(Verdict.forbidden, "exceeded the limit of processes"),
    "stopped": Finding(Verdict.crashed, "stopped"),
}


class Short(reprlib.Repr):
    """The beginning of a value's text, in time and memory that do not grow with the value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 6, 200, 200
        self.maxlist = self.maxtuple = self.maxdict = 20

    def repr_int(self, x: int, _level: int) -> str:
        """Its digits unless they are many: to write them takes quadratic time."""
        return repr(x) if x.bit_length() < 256 else f"<int of {x.bit_length()} bits>"


def short(value: Any) -> str:
    """The beginning of a value's text."""
    return Short().repr(value)[:200]


def failure_of(run: Run) -> Finding | None:
    """Why a run failed, whatever it printed; None if it ended well.

    The server's report begins with j once the walls stand, and c or u follows: the program was
    compiled, or could not be. Raises WorkerDied where the program's process died before that.
    """
    reply, report = run.reply, run.reply["report"]
    if not report.startswith("j"):
        if not report:
            raise WorkerDied(f"a process died before its sandbox was set up: {reply}")
        return Finding(Verdict.no_verdict, f"the sandbox could not be set up: {report}")
    if report.startswith("ju"):
        return Finding(Verdict.unparsable, report[2:])
    # Before the reason, which is then only that we stopped it.
    if run.overflow:
        return Finding(
            Verdict.wrong, f"more than {run.max_bytes[run.overflow]} bytes of {run.overflow}"
        )
    if reply["reason"].startswith("unwatched"):
        # The machine's fault or the program's: judge_twice() finds out which.
        raise WorkerDied(f"a process could not be watched: {reply['reason']}")
    if reply["reason"]:
        return REASONS[reply["reason"]]
    return exit_failure(run, reply["exit_code"])


def exit_failure(run: Run, code: int) -> Finding | None:
    """The finding on a program that ended with this exit code, or was killed by signal -code."""
    if code == 0:
        return None
    if code == -signal.SIGSYS:
        return Finding(Verdict.forbidden, "made a system call that no solution needs")
    if code == -signal.SIGXCPU:
        return REASONS["cpu"]
    if code == -signal.SIGKILL:
        return Finding(Verdict.memory, "killed by the kernel, as it does when memory runs out")
    if code < 0:
        return Finding(Verdict.crashed, f"killed by {signal.strsignal(-code)}")
    errors = run.content["stderr"].decode("utf-8", "replace").strip().splitlines()
    last = errors[-1][:300] if errors else ""
    if last.startswith("MemoryError"):
        return Finding(Verdict.memory, last)
    if last.startswith(NO_PERMISSION):
        return Finding(Verdict.forbidden, last)
    return Finding(Verdict.crashed, f"exit code {code}: {last}")


def finding_of_assertions(served: Run, asserted: Run) -> Finding:
    """The finding from how the tests ended and, where they failed, from how the program did."""
    try:
        answer = asserted.answer()
    except ValueError:
        answer = {}
    broken = failure_of(asserted)
    if answer.get("passed") is True and not broken:
        return PASSED
    if answer.get("blame") == "tests":
        return Finding(Verdict.no_verdict, f"tests: {answer['failed']}")
    failure = failure_of(served)
    # "stopped": by us, since the tests had ended, which says nothing about the program
    if failure and served.reply["reason"] != "stopped":
        return failure
    if answer:
        return Finding(Verdict(answer["how"]), answer["failed"])
    return broken or Finding(Verdict.no_verdict, "the tests ended without a result")
