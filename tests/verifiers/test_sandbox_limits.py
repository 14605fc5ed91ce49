"""What a program may hold and use, in whatever form, and what becomes of one that is not seen."""

import math
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prime_core.verifiers.code import CodeJudge, Limits, cgroups, judging, sandbox
from prime_core.verifiers.code.compare import same_value
from prime_core.verifiers.code.inside import codec, watch
from prime_core.verifiers.verdict import Verdict
from tests.verifiers.odd_programs import LIBC, SUM
from tests.verifiers.test_sandbox import SUM_TESTS, WALLS, needs, printed_by

MEMORY = Limits(seconds=5, total_seconds=20, memory_mb=128)

# Each ends with PermissionError where it may not hold memory in that form.
REFUSED = {
    "shared anonymous memory": "import mmap\nmmap.mmap(-1, 1 << 20)\n",
    "shared memory of /dev/zero": "open('/dev/zero', 'rb')\n",
    "huge pages of the machine's reserve": f"{LIBC}libc.mmap.restype = ctypes.c_long\n"
    "assert libc.mmap(None, ctypes.c_size_t(2 << 20), 3, 0x40022, -1, 0) == -1\n"
    "raise OSError(ctypes.get_errno(), '')\n",
    "files in memory": "import os\nos.memfd_create('x')\n",
    "pages kept by a pipe": f"{LIBC}import os\n_, w = os.pipe()\n"
    "assert libc.vmsplice(w, None, 0, 0) == -1\nraise OSError(ctypes.get_errno(), '')\n",
    "a larger pipe": "import fcntl, os\nfcntl.fcntl(os.pipe()[1], 1031, 1 << 20)\n",
    "larger sockets": "import socket\n"
    "socket.socketpair()[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)\n",
    "locks on parts of a file": "import fcntl\n"
    "fcntl.lockf(open('/tmp/x', 'w'), fcntl.LOCK_EX, 1, 0)\n",
    "a lock on a file of the machine": "import fcntl\n"
    "fcntl.flock(open('/dev/null'), fcntl.LOCK_EX)\n",
    "queues of file events": f"{LIBC}assert libc.inotify_init1(0) == -1\n"
    "raise OSError(ctypes.get_errno(), '')\n",
    "asynchronous requests": f"{LIBC}import platform\n"
    "n = {'x86_64': 206, 'aarch64': 0}[platform.machine()]\n"
    "assert libc.syscall(n, 65535, ctypes.byref(ctypes.c_long())) == -1\n"
    "raise OSError(ctypes.get_errno(), '')\n",
    "memory in swap": "import mmap\nmmap.mmap(-1, 1 << 16, mmap.MAP_PRIVATE).madvise(21)\n",
    "memory closed to readers": f"{LIBC}assert libc.prctl(4, 0, 0, 0, 0) == -1\n"
    "raise OSError(ctypes.get_errno(), '')\n",
    "the host's handler of crashes": f"{LIBC}no_core = (ctypes.c_ulong * 2)()\n"
    "assert libc.setrlimit(4, no_core) == -1\n"
    "raise OSError(ctypes.get_errno(), '')\n",
}


@pytest.mark.parametrize("kind", WALLS)
def test_no_memory_is_held_where_it_does_not_show(kind: str) -> None:
    needs(kind)
    body = "".join(
        f"try:\n{''.join(f'    {line}{chr(10)}' for line in source.splitlines())}"
        f"    print({name!r}, 'is allowed')\n"
        "except (PermissionError, FileNotFoundError): pass\n"
        f"except Exception as e: print({name!r}, repr(e))\n"
        for name, source in REFUSED.items()
    )
    assert printed_by(kind, body) == ""


def hog(where: str) -> str:
    """200 MB, more than the limit."""
    return f"import time\n{where}    x = bytearray(200 << 20)\n    time.sleep(9)\n"


HOGS = {
    "in small parts of ten processes": "import os, time\nfor i in range(10):\n"
    "    if os.fork() == 0:\n        x = bytearray(30 << 20)\n        time.sleep(9)\n"
    "time.sleep(9)\n",
    "by a thread that outlives the first": f"{LIBC}import threading, platform\n"
    "exit = {'x86_64': 60, 'aarch64': 93}[platform.machine()]\n"
    + hog("def run():\n")
    + "threading.Thread(target=run).start()\nlibc.syscall(exit, 0)\n",
    "in messages between sockets": "import os, socket, time\nkeep = []\nfor k in range(8):\n"
    "    if os.fork() == 0:\n"
    "        for i in range(50):\n"
    "            a, b = socket.socketpair()\n"
    "            keep += [a, b]\n"
    "            for s in (a, b):\n"
    "                s.setblocking(False)\n"
    "                try:\n"
    "                    while True: s.send(bytes(60000))\n"
    "                except OSError: pass\n"
    "        time.sleep(9)\n"
    "time.sleep(9)\n",
}


@pytest.mark.parametrize("kind", WALLS)
def test_memory_counts_whoever_holds_it(kind: str) -> None:
    needs(kind)
    with CodeJudge(sandbox=kind, limits=MEMORY) as one:
        verdicts = {
            name: one(hog, SUM_TESTS, is_program=True).verdict for name, hog in HOGS.items()
        }
        assert verdicts == dict.fromkeys(HOGS, Verdict.memory)
        assert one(SUM, SUM_TESTS, is_program=True).outcome == 1.0


def test_a_few_sockets_are_no_hog() -> None:
    source = "import asyncio\nasyncio.run(asyncio.sleep(.05))\n"
    with CodeJudge(limits=MEMORY) as one:
        assert one(source + SUM, SUM_TESTS, is_program=True).outcome == 1.0


def test_processor_time_of_a_process_that_nobody_waited_for_counts() -> None:
    busy = "import time\nwhile time.process_time() < .3: pass\nprint(flush=True)\ntime.sleep(99)"
    process = subprocess.Popen([sys.executable, "-S", "-c", busy], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    watcher = watch.Watcher()
    assert watcher.usage([process.pid]).cpu_seconds >= 0.28
    process.kill()
    process.wait()
    process.stdout.close()
    gone = watcher.usage([process.pid])
    assert (gone.tasks, gone.resident) == (0, 0)
    assert gone.cpu_seconds >= 0.28


class Patient(Limits):
    """Limits with time on the wall for a loaded machine."""

    @property
    def wall_seconds(self) -> float:
        """Of one test."""
        return 30.0


IGNORED_CHILDREN = (
    "import os, signal, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    "for k in range(60):\n"
    "    if os.fork() == 0:\n"
    "        while time.process_time() < .1: pass\n"
    "        os._exit(0)\n"
    "    try: os.wait()\n"
    "    except ChildProcessError: pass\n"
)


def test_processor_time_of_ignored_children_is_limited() -> None:
    with CodeJudge(limits=Patient(seconds=0.7)) as one:
        judgement = one(IGNORED_CHILDREN + SUM, SUM_TESTS, is_program=True)
    assert (judgement.verdict, judgement.detail) == (
        Verdict.timeout,
        "test 0: exceeded the limit of CPU time",
    )


@pytest.mark.parametrize("kind", WALLS)
def test_limits_of_each_process(kind: str) -> None:
    needs(kind)
    source = (
        "import resource as r\n"
        "print(*r.getrlimit(r.RLIMIT_CPU), *r.getrlimit(r.RLIMIT_RTPRIO))\n"
        "print(r.getrlimit(r.RLIMIT_NOFILE)[1])"
    )
    soft, hard, *others = map(int, printed_by(kind, source).split())
    # At the hard limit the kernel kills, as it does when memory runs out.
    assert (soft, hard) == (8, 9)
    assert others == [0, 0, 128]


def test_a_program_that_ends_its_sandbox_has_a_verdict_where_others_run() -> None:
    # Without walls it can: there, the server is its parent.
    source = "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n"
    with CodeJudge(sandbox="none") as one:
        judgement = one(source + SUM, SUM_TESTS, is_program=True)
        assert (judgement.verdict, judgement.outcome) == (Verdict.forbidden, 0.0)
        assert "does not survive it" in judgement.detail
        assert one(SUM, SUM_TESTS, is_program=True).outcome == 1.0


def test_a_sandbox_that_ends_for_every_program_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with CodeJudge(sandbox="none") as one:
        assert one(SUM, SUM_TESTS, is_program=True).outcome == 1.0
        os.kill(one.workers[0].process.pid, signal.SIGKILL)
        monkeypatch.setitem(sandbox.COMMANDS, "none", lambda _: ["false"])
        judgement = one(SUM, SUM_TESTS, is_program=True)
        assert (judgement.verdict, judgement.outcome) == (Verdict.no_verdict, None)


def test_a_look_that_fails_ends_the_program_and_not_the_server() -> None:
    one = judging.Worker("none")
    try:
        # The server compares with a limit that is no number.
        limits = SimpleNamespace(**{**vars(Limits()), "max_processes": "many"})
        source = "print(flush=True)\nimport time\ntime.sleep(60)"
        run = judging.Run(one, {"kind": "program", "source": source}, limits, 60.0)  # type: ignore[arg-type]
        judging.collect([run])
        assert run.reply["reason"].startswith("unwatched: TypeError")
        assert run.reply["seconds"] < 30
        with pytest.raises(judging.WorkerDied):  # the first time
            judging.failure_of(run)
        again = judging.Run(one, {"kind": "program", "source": "print(1)"}, Limits(), 60.0)
        judging.collect([again])
        assert again.content["stdout"] == b"1\n"
    finally:
        one.close()


TAGGED = [
    '{"fraction": ["1e100000000", null]}',
    '{"fraction": [1, 3]}',
    '{"decimal": "1e999999999999"}',
    '{"range": [0, 1000000000000, 1]}',
    '{"set": [' + ", ".join(str(k * ((1 << 61) - 1)) for k in range(1, 4)) + "]}",
    '{"set": [' + ", ".join(f'{{"int": "{k * ((1 << 61) - 1):x}"}}' for k in range(20000)) + "]}",
    '{"dict": ['
    + ", ".join(f'[{{"int": "{k * ((1 << 61) - 1):x}"}}, 0]' for k in range(9000))
    + "]}",
    '{"int": "' + "f" * 900_000 + '"}',
    "[" * 300_000,
    "[" * 400 + "6" + "]" * 400,
    "[" + "[]," * 300_000 + "6]",
    "9" * 900_000,
    '{"int": 6}', '{"float": "6"}', '{"iterator": [6]}', '{"opaque": ["int", true]}',
    '{"tuple": 6}', '{"dict": [[1]]}', "NaN", "null", "true", '"6"', "6.0",
    "{" + ", ".join(f'"{k}": 0' for k in range(50_000)) + "}",
]  # fmt: skip


def test_answers_cost_the_judge_little_whatever_they_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def build(value: Any) -> Any:  # sets and dicts of equal hashes, fractions of a million digits
        raise AssertionError(f"the judging process builds {value!r:.50}")

    monkeypatch.setattr(codec, "decode", build)
    tests = {"fn_name": "f", "inputs": [[]], "outputs": [6]}
    with CodeJudge() as one:
        for answer in TAGGED:
            source = f"import os\na = {answer!r}\n"
            if len(answer) > 50_000:
                source = f"import os\na = {shortened(answer)}\n"
            source += (
                "m = memoryview(('{\"value\": ' + a + '}\\n').encode())\n"
                "while m: m = m[os.write(3, m):]\nos._exit(0)\n"
            )
            judgement = one(source, tests, is_program=True)
            assert (judgement.verdict, len(judgement.detail) < 300) == (Verdict.wrong, True), answer


def shortened(answer: str) -> str:
    """An expression for a long answer: a program's source is bounded by patience."""
    for piece in ("f", "[", "[],", "9"):
        for times in (900_000, 300_000):
            if piece * times in answer:
                before, after = answer.split(piece * times, 1)
                return f"{before!r} + {piece!r} * {times} + {after!r}"
    return repr(answer)


PLAIN: list[Any] = [
    0, -7, 1 << 70, -(1 << 500), 1.5, -0.0, math.inf, True, None, "", "\ud800", "a\n", [],
    [[1], []],
    (1, (2, [3])), {}, {"a": {"b": [1]}}, {1: "x", "y": 2}, {-5: None},
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_cross_as_they_are(value: Any) -> None:
    back = codec.plain(codec.loads(codec.dumps({"value": codec.encode(value)}))["value"])
    expected = {str(k): v for k, v in value.items()} if isinstance(value, dict) else value
    assert type(back) is type(expected)
    assert back == expected


@pytest.mark.parametrize(
    "value",
    [{1}, frozenset(), b"6", 1j, range(3), Fraction(6), iter([6]), int, {(1,): 2}, {1.5: 1}],
)
def test_other_values_equal_nothing_that_json_holds(value: Any) -> None:
    back = codec.plain(codec.loads(codec.dumps({"value": codec.encode(value)}))["value"])
    assert isinstance(back, codec.Foreign)
    assert not any(same_value(back, one) for one in [6, 6.0, [6], [], {}, "6", None, True])


def test_memory_is_held_by_a_control_group_or_else_by_the_watcher() -> None:
    with CodeJudge(limits=MEMORY) as one:
        assert one(SUM, SUM_TESTS, is_program=True).outcome == 1.0
        group = one.workers[0].group
        assert (group is None) == (cgroups.parent_group() is None)
        if group:  # the kernel's limit, less than the watcher's
            (group.folder / "memory.max").write_text(str(64 << 20))
        assert one(hog("if True:\n"), SUM_TESTS, is_program=True).verdict is Verdict.memory
        if group:
            assert "oom_kill 0" not in (group.folder / "memory.events").read_text()
        assert one(SUM, SUM_TESTS, is_program=True).outcome == 1.0
    assert group is None or not group.folder.exists()


def test_groups_of_judges_that_were_killed_are_removed(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    for owner in (process.pid, os.getpid()):
        (tmp_path / f"{cgroups.PREFIX}{owner}-0").mkdir()
    cgroups.remove_abandoned(tmp_path)
    assert [group.name for group in tmp_path.iterdir()] == [f"{cgroups.PREFIX}{os.getpid()}-0"]
