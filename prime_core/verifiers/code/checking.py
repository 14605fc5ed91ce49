"""Special judges: a row's `checker` decides where a test has several right outputs.

The checker is Python source from the data set. It runs in the sandbox of the assertions, a fresh
process for each output, and sees the output as a plain value: no program can reach into it.
inside/checks.py has its two forms.

A checker that fails is no verdict, but an output must not be able to buy that: where the checker
works on the expected output and fails on the program's, the output is wrong.
docs/decisions.md#checkers
"""

import time
from collections.abc import Callable
from typing import Any

from ..verdict import Verdict
from .findings import PASSED, Finding, failure_of, short
from .inside import codec
from .limits import Limits
from .worker import Run, Worker, collect


class ChecksTookTooLong(Exception):
    """The checks of one program together have used up their time."""


class Checks:
    """The checks of one program's outputs. Their time is an account of its own, not the program's.

    sandbox: gives the running sandbox in which they are made.
    """

    def __init__(self, limits: Limits, sandbox: Callable[[], Worker]) -> None:
        self.limits, self.sandbox = limits, sandbox
        self.seconds = 0.0

    def finding(self, checker: str, given: Any, got: Any, expected: Any) -> Finding:
        """What the checker says of one output, encoded. Raises ChecksTookTooLong."""
        right, failure = self.ask(checker, given, got, expected)
        if right is not None:
            return PASSED if right else Finding(Verdict.wrong, f"the checker refuses {short(got)}")
        # Its own fault? docs/decisions.md#checkers
        works, reason = self.ask(checker, given, codec.encode(expected), expected)
        if works is None:
            return Finding(Verdict.no_verdict, f"tests: the checker failed: {reason}")
        return Finding(Verdict.wrong, f"the checker fails on {short(got)}: {failure}")

    def ask(self, checker: str, given: Any, got: Any, expected: Any) -> tuple[bool | None, str]:
        """Whether the checker accepts an encoded output (None: it failed), and why it failed."""
        left = self.limits.total_seconds - self.seconds
        if left <= 0:
            raise ChecksTookTooLong(f"the checks took over {self.limits.total_seconds:g} s")
        # Not decoded here: an output may be any value, and costly to build.
        values = [codec.encode(given), got, codec.encode(expected)]
        task = {"kind": "check", "source": checker, "values": values}
        started = time.monotonic()
        try:
            seconds = min(self.limits.wall_seconds, left)
            run = Run(self.sandbox(), task, self.limits, seconds, answers=True)
            collect([run])
        finally:
            self.seconds += time.monotonic() - started
        failure = failure_of(run)
        if failure:
            return None, failure.detail
        try:
            answer = run.answer()
        except ValueError as error:
            return None, str(error)
        right = answer.get("right")
        return (right, "") if isinstance(right, bool) else (None, str(answer.get("failed")))
