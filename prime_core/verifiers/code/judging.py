"""Judging one program: run it on every test in the sandbox, compare out here, give a verdict.

All tests count and none is forgiven; the first failure decides the verdict, and where credit.py
gives partial credit, the tests that pass decide the outcome. Standard output and returned values
are compared in this process (compare.py), which never executes anything of the program's.
Assertions and checkers (checking.py) run in a second sandbox, so that no expected value is ever in
the program's reach.
"""

import atexit
import contextlib
import functools
import os
import time
from collections.abc import Callable
from typing import Any

from prime_core.runtime.text import printable

from ..verdict import Judgement, Verdict
from . import sandbox as sandboxes
from .checking import Checks, ChecksTookTooLong
from .compare import same_output
from .credit import Credit
from .extract import extract_program
from .findings import PASSED, Finding, failure_of, finding_of_assertions, short
from .formats import AssertTests, CallTests, StdinTests, Tests, parse_tests
from .inside import codec
from .limits import Limits
from .packages import DEFAULT_PACKAGES, PackagesMissing, installed
from .worker import Run, Worker, WorkerDied, collect


# Trying one out starts a sandbox; forked workers inherit what their parent found.
@functools.cache
def choose_sandbox(sandbox: str, packages: tuple[str, ...] = DEFAULT_PACKAGES) -> str:
    """The sandbox that `sandbox` (auto, bubblewrap, namespaces, none) means on this machine.

    It is tried out, with `packages` to import from: ValueError, with what went wrong, if it does
    not work here.
    """
    if sandbox not in ("auto", *sandboxes.COMMANDS):
        names = ", ".join(["auto", *sandboxes.COMMANDS])
        raise ValueError(f"sandbox must be one of {names}, not {sandbox!r}")
    installed(packages)  # first: it is the same in any sandbox
    reasons = []
    for kind in ["bubblewrap", "namespaces"] if sandbox == "auto" else [sandbox]:
        reason = what_fails(kind, packages)
        if not reason:
            return kind
        reasons.append(reason)
    raise sandboxes.SandboxUnavailable(
        f"no sandbox for model-written programs works here: {'; '.join(reasons)}. Install "
        "bubblewrap or allow user namespaces; `sandbox: none` runs them unprotected."
    )


def what_fails(kind: str, packages: tuple[str, ...]) -> str:
    """Why a small program that loads a module does not run in this sandbox; "" if it does."""
    # wave: a module that the server has not loaded, so that the library's folder is tried as well
    source = "import wave\na, b = map(int, input().split())\nprint(a * b)"
    limits = Limits()
    try:
        with contextlib.closing(Worker(kind, packages)) as worker:
            task = {"kind": "program", "source": source}
            run = Run(worker, task, limits, limits.wall_seconds, stdin=b"6 7")
            collect([run])
            failure = failure_of(run)
    except (sandboxes.SandboxUnavailable, WorkerDied) as error:
        return str(error)
    if failure or run.content["stdout"] != b"42\n":
        return f"{kind}: 6 * 7 gave {bytes(run.content['stdout'])!r} {failure}"
    return ""


class CodeJudge:
    """Judges programs one after another on warm sandboxes (cold: a new one for every program).

    Use it from one thread, in the process that made it; close() ends the sandboxes.
    """

    def __init__(
        self,
        *,
        sandbox: str = "auto",
        limits: Limits | None = None,
        credit: Credit | None = None,
        warm: bool = True,
        packages: tuple[str, ...] = DEFAULT_PACKAGES,
    ) -> None:
        self.limits, self.credit, self.warm = limits or Limits(), credit or Credit(), warm
        self.packages = packages
        self.kind = choose_sandbox(sandbox, packages)
        self.workers: list[Worker] = []
        self.deadline = 0.0
        self.checks = self.new_checks()

    def __enter__(self) -> "CodeJudge":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the sandboxes; the next program starts new ones."""
        for worker in self.workers:
            worker.close()
        self.workers = []

    def __call__(
        self, text: str, tests: Any, *, is_program: bool = False, prompt: str = ""
    ) -> Judgement:
        """The judgement of a response, or of a program where `is_program`.

        tests: one of the forms in formats.py. prompt: the code that a completion continues.
        """
        started = time.monotonic()
        program = text if is_program else extract_program(text)
        try:
            parsed = parse_tests(tests, prompt)
            if not len(parsed):
                raise ValueError("there are no tests")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            found = Finding(Verdict.no_verdict, f"tests: {error}")
        else:
            if program is None or not program.strip():
                found = Finding(Verdict.no_answer, "no python block in the response")
            else:
                found = self.judge_twice(program, parsed)
        seconds = time.monotonic() - started
        return Judgement(found.verdict, program, printable(found.detail), seconds, found.outcome)

    def judge_twice(self, program: str, tests: Tests) -> Finding:
        """The finding; a second attempt on new sandboxes if the first lost its sandbox."""
        judge_kind = JUDGES[type(tests)]
        detail = ""
        for _ in range(2):
            try:
                # The second attempt has it all again: the program may not have killed the sandbox.
                self.deadline = time.monotonic() + self.limits.total_seconds
                self.checks = self.new_checks()
                return judge_kind(self, program, tests)
            except (WorkerDied, sandboxes.SandboxUnavailable) as error:
                detail = str(error)
                self.close()
            except (RecursionError, MemoryError) as error:
                # What comes from the program is caught where it is read: this is the tests'.
                self.close()
                name = type(error).__name__
                return Finding(Verdict.no_verdict, f"tests: too deep or too large ({name})")
            except BaseException:
                self.close()  # a program may still be running: its reply would be the next one's
                raise
            finally:
                if not self.warm:
                    self.close()
        # Where another program runs well, it was this one that ended the sandbox, twice. Else a
        # program could turn its label 0 into a missing one, and its response leave the batch.
        if not what_fails(self.kind, self.packages):
            return Finding(Verdict.forbidden, f"its sandbox does not survive it: {detail}")
        return Finding(Verdict.no_verdict, detail)

    def worker(self, number: int) -> Worker:
        """The running sandbox of this number."""
        while len(self.workers) <= number:
            self.workers.append(Worker(self.kind, self.packages))
        return self.workers[number]

    def new_checks(self) -> Checks:
        """An account of checks for one program; they run where assertions do."""
        return Checks(self.limits, lambda: self.worker(1))

    def start(self, number: int, task: dict[str, Any], **options: Any) -> Run:
        """Start a task on a sandbox, within what is left of the total time."""
        left = max(0.01, self.deadline + self.checks.seconds - time.monotonic())
        wall_seconds = min(self.limits.wall_seconds, left)
        return Run(self.worker(number), task, self.limits, wall_seconds, **options)

    def time_is_up(self) -> bool:
        """Whether the tests together have taken too long."""
        return time.monotonic() > self.deadline + self.checks.seconds


TestOne = Callable[[int], Finding]
# What reading a value may raise that a program made up.
PLAINLY_WRONG = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError, MemoryError)


def judge_each(judge: CodeJudge, num_tests: int, test_one: TestOne) -> Finding:
    """Test by test, until the outcome is settled: the first failure, and the outcome."""
    passed: list[bool] = []
    first = PASSED
    while not judge.credit.is_settled(passed, num_tests) and not judge.time_is_up():
        number = len(passed)
        try:
            found = test_one(number)
        except ChecksTookTooLong as error:
            if first is PASSED:
                return Finding(Verdict.no_verdict, f"tests: {error}")
            break  # it has failed a test, and may have made the checker slow
        if found.verdict is Verdict.no_verdict:
            return found
        passed.append(found is PASSED)
        if found is not PASSED and first is PASSED:
            first = Finding(found.verdict, f"test {number}: {found.detail}")
        if found.verdict is Verdict.unparsable:
            break  # as in all other tests
    if first is PASSED and len(passed) < num_tests:
        first = Finding(Verdict.timeout, f"test {len(passed)}: all tests together took too long")
    return credited(judge, first, passed, num_tests)


def credited(judge: CodeJudge, found: Finding, passed: list[bool], num_tests: int) -> Finding:
    """A finding with its outcome, and with the tests that the program passed in its detail."""
    if found is PASSED or judge.credit.kind == "none":
        return found
    counted = judge.credit.counted(num_tests)
    detail = f"{found.detail}; {sum(passed[:counted])} of {counted} tests passed"
    return Finding(found.verdict, detail, judge.credit.outcome(passed, num_tests))


def judge_stdin(judge: CodeJudge, program: str, tests: StdinTests) -> Finding:
    """Run the program as a script on each input and compare what it prints."""
    task = {"kind": "program", "source": program}

    def test_one(number: int) -> Finding:
        given, expected = tests.inputs[number], tests.outputs[number]
        # JSON's escapes may hold lone surrogates, which strict UTF-8 refuses.
        stdin = given.encode("utf-8", "surrogatepass")
        run = judge.start(0, task, stdin=stdin, expected_bytes=len(expected))
        collect([run])
        failure = failure_of(run)
        if failure:
            return failure
        printed = run.content["stdout"].decode("utf-8", "backslashreplace")
        if tests.checker:
            return judge.checks.finding(tests.checker, given, printed, expected)
        if same_output(printed, expected, tests.tolerance):
            return PASSED
        return Finding(Verdict.wrong, f"printed {short(printed)}, not {short(expected)}")

    return judge_each(judge, len(tests), test_one)


def judge_calls(judge: CodeJudge, program: str, tests: CallTests) -> Finding:
    """Call the function on each list of arguments and compare what it returns."""
    source = f"{program}\n{tests.adapter}" if tests.adapter else program
    task = {"kind": "call", "source": source, "fn_name": tests.fn_name}

    def test_one(number: int) -> Finding:
        arguments, expected = tests.arguments[number], tests.outputs[number]
        size = len(codec.dumps({"values": codec.encode(expected)}))
        call = {**task, "arguments": codec.encode(arguments)}
        run = judge.start(0, call, answers=True, expected_bytes=size)
        collect([run])
        failure = failure_of(run)
        if failure:
            return failure
        try:
            # The answer is the program's word, and may hold anything.
            answer = run.answer()["value"]
            if tests.checker:
                return judge.checks.finding(tests.checker, arguments, answer, expected[0])
            value = codec.plain(answer)
            same = any(tests.same(value, one, number) for one in expected)
        except PLAINLY_WRONG:
            return Finding(Verdict.wrong, f"{tests.fn_name} returned no plain value")
        if same:
            return PASSED
        return Finding(Verdict.wrong, f"returned {short(value)}, not {short(expected[0])}")

    return judge_each(judge, len(tests), test_one)


def judge_assertions(judge: CodeJudge, program: str, tests: AssertTests) -> Finding:
    """Run the assertions, all after one another; each by itself where some of them fail."""
    found = run_assertions(judge, program, tests)
    partly = judge.credit.kind != "none" and found is not PASSED
    if not partly or found.verdict in (Verdict.no_verdict, Verdict.unparsable):
        return found
    passed: list[bool] = []
    counted = judge.credit.counted(len(tests))
    # A program that a test has ended can answer no other: each gets a program of its own.
    while len(tests) > 1 and len(passed) < counted and not judge.time_is_up():
        one = run_assertions(judge, program, tests.only(len(passed)))
        # Of the tests' own faults only the whole tells: alone, one may not call the program.
        if one.verdict is Verdict.no_verdict and not one.detail.startswith("tests:"):
            return one
        passed.append(one is PASSED)
    return credited(judge, found, passed, len(tests))


def run_assertions(judge: CodeJudge, program: str, tests: AssertTests) -> Finding:
    """Run the assertions in one sandbox and the program in another, joined by two pipes."""
    source = complete(program, tests)
    requests_end, requests = os.pipe()
    replies_end, replies = os.pipe()
    task = {
        "kind": "tests",
        "source": "",
        "prompt": tests.prompt,
        "setup": tests.setup,
        "tests": list(tests.tests),
        "entry_point": tests.entry_point,
        "reference": tests.reference,
        "inputs": codec.encode(list(tests.inputs)),
        "tolerance": tests.tolerance,
        "oracle": tests.oracle,
        "max_bytes": judge.limits.max_output_bytes,
    }
    served = asserted = None
    try:
        serve = {"kind": "serve", "source": source, "prelude": tests.is_like_leetcode()}
        served = judge.start(0, serve, pipes=(requests_end, replies))
        asserted = judge.start(1, task, pipes=(replies_end, requests), answers=True)
    finally:
        # The sandboxes have copies. With ours open, neither side would see the other one end.
        for descriptor in (requests_end, requests, replies_end, replies):
            os.close(descriptor)
        if served and not asserted:
            served.close()
    collect([served, asserted])
    return finding_of_assertions(served, asserted)


def complete(program: str, tests: AssertTests) -> str:
    """The program with the prompt before it, where the prompt begins the function in question."""
    begins = f"def {tests.entry_point}(" in tests.prompt and tests.entry_point
    if not begins or tests.reference or "from __future__ import" in program:
        return program  # a __future__ import has to stay at the top
    try:
        compile(tests.prompt, "prompt.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return program
    return f"{tests.prompt}\n{program}"


JUDGES: dict[type, Callable[[CodeJudge, str, Any], Finding]] = {
    StdinTests: judge_stdin,
    CallTests: judge_calls,
    AssertTests: judge_assertions,
}

warm_judges: dict[tuple[int, str, tuple[str, ...]], CodeJudge] = {}


def judge(
    text: str,
    tests: Any,
    *,
    limits: Limits | None = None,
    credit: Credit | None = None,
    sandbox: str = "auto",
    is_program: bool = False,
    prompt: str = "",
    packages: tuple[str, ...] = DEFAULT_PACKAGES,
) -> Judgement:
    """The judgement of one response (or program) on sandboxes that stay warm in this process.

    no_verdict, saying why, where the sandbox does not work; choose_sandbox() tells beforehand.
    """
    key = (os.getpid(), sandbox, packages)  # a fork must not talk over the sockets of its parent
    if key not in warm_judges:
        try:
            warm_judges[key] = CodeJudge(sandbox=sandbox, packages=packages)
        except (sandboxes.SandboxUnavailable, PackagesMissing) as error:
            return Judgement(Verdict.no_verdict, None, str(error))
        atexit.register(close_quietly, warm_judges[key], os.getpid())
    one = warm_judges[key]
    one.limits, one.credit = limits or Limits(), credit or Credit()
    return one(text, tests, is_program=is_program, prompt=prompt)


def close_quietly(one: CodeJudge, owner: int) -> None:
    """End the sandboxes at exit of the process that started them, not of its forks."""
    if os.getpid() == owner:
        with contextlib.suppress(OSError):
            one.close()
