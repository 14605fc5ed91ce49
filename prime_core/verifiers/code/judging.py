"""Judging one program: run it on every test in the sandbox, compare out here, give a verdict.

All tests count and none is forgiven; the first failure decides. Standard output and returned
values are compared in this process (compare.py), which never executes anything of the program's.
Assertions run in a second sandbox, so that no expected value is ever in the program's reach.
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
from .compare import same_output, same_value
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
        warm: bool = True,
        packages: tuple[str, ...] = DEFAULT_PACKAGES,
    ) -> None:
        self.limits, self.warm, self.packages = limits or Limits(), warm, packages
        self.kind = choose_sandbox(sandbox, packages)
        self.workers: list[Worker] = []
        self.deadline = 0.0

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
            verdict, detail = Verdict.no_verdict, f"tests: {error}"
        else:
            if program is None or not program.strip():
                verdict, detail = Verdict.no_answer, "no python block in the response"
            else:
                verdict, detail = self.judge_twice(program, parsed)
        return Judgement(verdict, program, printable(detail), time.monotonic() - started)

    def judge_twice(self, program: str, tests: Tests) -> Finding:
        """The finding; a second attempt on new sandboxes if the first lost its sandbox."""
        judge_kind = JUDGES[type(tests)]
        detail = ""
        for _ in range(2):
            try:
                # The second attempt has it all again: the program may not have killed the sandbox.
                self.deadline = time.monotonic() + self.limits.total_seconds
                return judge_kind(self, program, tests)
            except (WorkerDied, sandboxes.SandboxUnavailable) as error:
                detail = str(error)
                self.close()
            except (RecursionError, MemoryError) as error:
                # What comes from the program is caught where it is read: this is the tests'.
                self.close()
                return Verdict.no_verdict, f"tests: too deep or too large ({type(error).__name__})"
            except BaseException:
                self.close()  # a program may still be running: its reply would be the next one's
                raise
            finally:
                if not self.warm:
                    self.close()
        # Where another program runs well, it was this one that ended the sandbox, twice. Else a
        # program could turn its label 0 into a missing one, and its response leave the batch.
        if not what_fails(self.kind, self.packages):
            return Verdict.forbidden, f"its sandbox does not survive it: {detail}"
        return Verdict.no_verdict, detail

    def worker(self, number: int) -> Worker:
        """The running sandbox of this number."""
        while len(self.workers) <= number:
            self.workers.append(Worker(self.kind, self.packages))
        return self.workers[number]

    def start(self, number: int, task: dict[str, Any], **options: Any) -> Run:
        """Start a task on a sandbox, within what is left of the total time."""
        left = max(0.01, self.deadline - time.monotonic())
        wall_seconds = min(self.limits.wall_seconds, left)
        return Run(self.worker(number), task, self.limits, wall_seconds, **options)

    def time_is_up(self) -> bool:
        """Whether the tests together have taken too long."""
        return time.monotonic() > self.deadline


def judge_stdin(judge: CodeJudge, program: str, tests: StdinTests) -> Finding:
    """Run the program as a script on each input and compare what it prints."""
    task = {"kind": "program", "source": program}
    for i, (given, expected) in enumerate(zip(tests.inputs, tests.outputs, strict=True)):
        if judge.time_is_up():
            return Verdict.timeout, f"test {i}: all tests together took too long"
        # JSON's escapes may hold lone surrogates, which strict UTF-8 refuses.
        stdin = given.encode("utf-8", "surrogatepass")
        run = judge.start(0, task, stdin=stdin, expected_bytes=len(expected))
        collect([run])
        failure = failure_of(run)
        if failure:
            return failure[0], f"test {i}: {failure[1]}"
        printed = run.content["stdout"].decode("utf-8", "backslashreplace")
        if not same_output(printed, expected, tests.tolerance):
            return Verdict.wrong, f"test {i}: printed {short(printed)}, not {short(expected)}"
    return PASSED


def judge_calls(judge: CodeJudge, program: str, tests: CallTests) -> Finding:
    """Call the function on each list of arguments and compare what it returns."""
    source = f"{program}\n{tests.adapter}" if tests.adapter else program
    task = {"kind": "call", "source": source, "fn_name": tests.fn_name}
    for i, (arguments, expected) in enumerate(zip(tests.arguments, tests.outputs, strict=True)):
        if judge.time_is_up():
            return Verdict.timeout, f"test {i}: all tests together took too long"
        size = len(codec.dumps({"values": codec.encode(expected)}))
        call = {**task, "arguments": codec.encode(arguments)}
        run = judge.start(0, call, answers=True, expected_bytes=size)
        collect([run])
        failure = failure_of(run)
        if failure:
            return failure[0], f"test {i}: {failure[1]}"
        try:
            # The answer is the program's word, and may hold anything.
            value = codec.plain(run.answer()["value"])
            same = any(same_value(value, one, tests.tolerance) for one in expected)
        except (ValueError, TypeError, KeyError, RecursionError, MemoryError):
            return Verdict.wrong, f"test {i}: {tests.fn_name} returned no plain value"
        if not same:
            return Verdict.wrong, f"test {i}: returned {short(value)}, not {short(expected[0])}"
    return PASSED


def judge_assertions(judge: CodeJudge, program: str, tests: AssertTests) -> Finding:
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
        "max_bytes": judge.limits.max_output_bytes,
    }
    served = asserted = None
    try:
        serve = {"kind": "serve", "source": source}
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
    one.limits = limits or Limits()
    return one(text, tests, is_program=is_program, prompt=prompt)


def close_quietly(one: CodeJudge, owner: int) -> None:
    """End the sandboxes at exit of the process that started them, not of its forks."""
    if os.getpid() == owner:
        with contextlib.suppress(OSError):
            one.close()
