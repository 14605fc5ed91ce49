"""Programs for fuzzing the sandbox, and what must hold after each.

A program is a right or a damaged one with random hostile statements before it: bytes on every
descriptor, names of processes, signals, odd encodings, the judge's own protocol, forks. Whatever it
does, it gets a verdict of its own, a right program judged next is still right, and the judging
process stays small and quick.
"""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Iterator
from typing import Any

import psutil

from prime_core.verifiers.code import CodeJudge, Limits

Case = dict[str, Any]

LIMITS = Limits(seconds=1.0, total_seconds=3.0, memory_mb=256)
HOST_CPU_SECONDS = 2.0
HOST_BYTES = 400 << 20

STDIN_TESTS = {"inputs": ["3 4\n", "10 -2\n"], "outputs": ["7\n", "8\n"]}
CALL_TESTS = {"fn_name": "add", "inputs": [[3, 4], [10, -2]], "outputs": [7, 8]}
ASSERT_TESTS = {"test_list": ["assert add(3, 4) == 7", "assert add(10, -2) == 8"]}
FORMS = {
    "stdin": (STDIN_TESTS, "a, b = map(int, input().split())\nprint(a + b)\n"),
    "call": (CALL_TESTS, "def add(a, b):\n    return a + b\n"),
    "assert": (ASSERT_TESTS, "def add(a, b):\n    return a + b\n"),
}
ANSWERS = [
    '{"value": 7}', '{"value": {"fraction": ["1e100000000", null]}}', '{"value": {"int": "7"}}',
    '{"values": [7]}', '{"value": 1e999}', '{"value": NaN}', '{"value": {"float": "nan"}}',
    '{"value": {"set": [1, 2, 3]}}', '{"value": ' + "[" * 400 + "]" * 400 + "}", "[]", "null",
    '{"value": {"decimal": "1E+999999999"}}', "7", '{"value"',
    '{"value": {"complex": ["1e400", "x"]}}',
    '{"value": {"range": [0, "9999999999999999999", 1]}}', '{"value": "\\ud800"}',
    '{"value": -0.0}',
    '{"error": "AssertionError"}', '{"status": "passed"}', '{"exit": 0}', "stop", "\\xff\\xfe",
]  # fmt: skip
SIGNALS = (
    "INT", "TERM", "HUP", "USR1", "STOP", "KILL", "CHLD", "PIPE", "ALRM", "QUIT", "TSTP", "SEGV",
    "XCPU",
)  # fmt: skip
HEADS = (
    "", "", "", "# -*- coding: utf-16 -*-\n", "# coding: latin-1\n", "\ufeff", "\x00", "\r",
    "# coding: no-such\n", "from __future__ import annotations\n",
)  # fmt: skip
NUMBERS = ["9" * 5000, "1" + "0" * 100_000, "-1", "0", "1e400", "2**64"]


def statement(rng: random.Random) -> str:
    """One hostile statement; it never ends with the program's own error."""
    signal = f"signal.SIG{rng.choice(SIGNALS)}"
    junk = rng.randbytes(rng.choice([1, 7, 15, 200, 5000]))
    answer, number = rng.choice(ANSWERS), rng.choice(NUMBERS)
    return rng.choice([
        f"open('/proc/self/comm', 'wb').write({junk[:20]!r})",
        f"import ctypes; ctypes.CDLL(None).prctl(15, {junk[:15]!r}, 0, 0, 0)",
        f"[os.write(fd, {junk!r}) for fd in range({rng.randint(1, 12)})]",
        f"os.write({rng.randint(1, 9)}, {junk!r})",
        f"os.write({rng.randint(1, 6)}, {answer.encode()!r} + b'\\n')",
        f"os.write({rng.randint(3, 6)}, b'{{\"value\": {number}}}\\n'); os._exit(0)",
        f"os.write(3, {answer.encode()!r} + b'\\n'); os._exit(0)",
        f"os.kill(0, {signal})",
        f"signal.signal(signal.SIGINT, signal.SIG_IGN); os.kill(0, {signal}); time.sleep(.1)",
        f"os.kill(0, {signal}); time.sleep(.2)",
        f"os.kill(os.getpid(), {signal})", f"os.kill(os.getppid(), {signal})",
        f"os.kill(-1, {signal})", f"os.kill(1, {signal})",
        "os.fork()", "os.fork() or time.sleep(60)", "[os.fork() for _ in range(4)]",
        "os.fork() or (os.setsid(), os.fork() or time.sleep(60))",
        "[threading.Thread(target=time.sleep, args=(9,), daemon=True).start() for _ in range(9)]",
        f"os.close({rng.randint(0, 6)})", f"os.dup2({rng.randint(0, 5)}, {rng.randint(0, 6)})",
        "os.closerange(0, 99)", "os.setpgid(0, 0)", "os.setsid()", "sys.stdout.close()",
        f"sys.stdout.buffer.write({junk!r} * 300)", f"sys.stderr.buffer.write({junk!r} * 300)",
        f"print({number!r})", "sys.stdin.close()", "sys.setrecursionlimit(10**9)",
        "x = bytearray(200 << 20)", "x = [0] * 10**9", "while True: pass", "time.sleep(60)",
        "sys.settrace(lambda *a: None)", "os.execv(sys.executable, ['x', '-c', 'print(7)'])",
        "os.execv('/bin/sh', ['x', '-c', 'kill -INT 0'])", "raise SystemExit('\\ud800')",
        "raise KeyboardInterrupt", "raise type('\\ud800', (BaseException,), {})", "os._exit(3)",
        "os.abort()", "sys.exit(0)", "class E(Exception): __str__ = lambda s: 1 / 0\nraise E",
        "open('f', 'wb').write(bytes(90 << 20))", "[open(f'f{i}', 'w') for i in range(5000)]",
        "os.chdir('/')", "os.symlink('/', 'l'), os.mkfifo('p')", "os.nice(19)",
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))", "faulthandler.enable()",
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)", "signal.alarm(1)", "gc.disable()",
        "socket.socketpair()[0].send(bytes(9 << 20))", "os.unshare(0x10000000)",
        "sys.modules.clear()", "builtins.__dict__.clear()", "del sys.stdout", "sys.excepthook = 3",
        "json.dumps = lambda *a, **k: '7'", "builtins.int = str", "builtins.print = id",
        "import atexit; atexit.register(os._exit, 0)", "sys.stdout = sys.stderr",
        "threading.stack_size(1 << 20), threading.Thread(target=os.abort).start()",
    ])  # fmt: skip


def program(rng: random.Random, right: str) -> str:
    """A program: hostile statements, some of them guarded, around a right or damaged one."""
    lines = ["import os, sys, signal, time, threading, socket, resource, gc, json, builtins",
             "import faulthandler"]  # fmt: skip
    for _ in range(rng.randint(1, 4)):
        text = statement(rng)
        if rng.random() < 0.6:
            body = "\n".join(f"    {line}" for line in text.splitlines())
            text = f"try:\n{body}\nexcept BaseException: pass"
        lines.append(text)
    body = right
    if rng.random() < 0.2:
        place = rng.randrange(len(right))
        body = (
            right[:place] + chr(rng.choice([0, 9, 65, 955, 0xD800, 0x1F600])) + right[place + 1 :]
        )
    text = "\n".join([*lines, body] if rng.random() < 0.8 else [body, *lines]) + "\n"
    return rng.choice(HEADS) + text


def cases(seed: int) -> Iterator[Case]:
    """Cases without end."""
    rng = random.Random(seed)
    while True:
        form = rng.choice(list(FORMS))
        yield {"kind": f"program, {form}", "form": form, "program": program(rng, FORMS[form][1])}


def most_held() -> int:
    """The most bytes that this process has held at a time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


class Checker:
    """Judges cases on warm sandboxes, each followed by a right program."""

    def __init__(self, sandbox: str) -> None:
        self.judge = CodeJudge(sandbox=sandbox, limits=LIMITS)
        for form in FORMS:
            self.control(form)
        self.family = self.processes()
        self.held = most_held()

    def control(self, form: str) -> str:
        """The verdict on a right program of this form."""
        tests, right = FORMS[form]
        return self.judge(right, tests, is_program=True).verdict

    def processes(self) -> int:
        """Processes below this one: the warm sandboxes and what is left in them."""
        alive = psutil.Process().children(recursive=True)
        return sum(process.status() != psutil.STATUS_ZOMBIE for process in alive)

    def __call__(self, case: Case) -> str:
        """What does not hold of a case; "" if all does."""
        tests, _ = FORMS[case["form"]]
        start = time.process_time()
        judgement = self.judge(case["program"], tests, is_program=True)
        seconds = time.process_time() - start
        if judgement.outcome is None:
            return f"no verdict: {judgement.detail}"
        control = self.control(case["form"])
        if control != "correct":
            return f"{judgement.verdict}; then a right program is {control}"
        if seconds > HOST_CPU_SECONDS:
            return f"the judging process computed for {seconds:.1f} s"
        if most_held() - self.held > HOST_BYTES:
            return "the judging process has grown by more than 400 MB"
        time.sleep(0.02 if self.processes() > self.family else 0)
        if self.processes() > self.family:
            return f"{self.processes() - self.family} processes are left"
        return ""
