"""The walls around model-written programs: nothing gets out, nothing stays, in every sandbox."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prime_core.verifiers.code import (
    CodeJudge,
    Limits,
    choose_sandbox,
    judge,
    packages,
    sandbox,
    worker,
)
from prime_core.verifiers.code.inside import watch
from prime_core.verifiers.verdict import Verdict

SMALL: dict[str, Any] = {"seconds": 1.3, "total_seconds": 6.0, "memory_mb": 512}
WALLS = ["bubblewrap", "namespaces"]
SUM = "n=int(input())\nprint(sum(map(int,input().split())))\n"
SUM_TESTS = {"inputs": ["3\n1 2 3\n"], "outputs": ["6\n"]}


def needs(kind: str) -> None:
    """Skip where bubblewrap is not installed; in CI that is a failure."""
    if kind == "bubblewrap" and not shutil.which("bwrap") and not os.environ.get("CI"):
        pytest.skip("bubblewrap is not installed")


def wait_for_family(ancestor: int, size: int) -> list[int]:
    """The descendants of a process, once there are so many of them."""
    deadline = time.monotonic() + 20
    while len(family := watch.descendants(ancestor)) < size:
        assert time.monotonic() < deadline, "the program did not start"
        time.sleep(0.02)
    return family


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(params=WALLS)
def judged(request: pytest.FixtureRequest) -> Iterator[CodeJudge]:
    needs(request.param)
    with CodeJudge(sandbox=request.param, limits=Limits(**SMALL)) as one:
        yield one


def printed_by(
    kind: str,
    program: str,
    stdin: bytes = b"",
    packages: tuple[str, ...] = packages.DEFAULT_PACKAGES,
) -> str:
    """Standard output of a program in a sandbox."""
    one = worker.Worker(kind, packages)
    try:
        task = {"kind": "program", "source": program}
        run = worker.Run(one, task, Limits(), 60.0, stdin=stdin)
        worker.collect([run])
    finally:
        one.close()
    assert run.reply["exit_code"] == 0, run.content["stderr"].decode()
    return run.content["stdout"].decode()


@pytest.mark.parametrize("kind", WALLS)
def test_packages_that_lie_behind_a_link_are_seen_inside(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(kind)
    places = packages.installed(("numpy",))
    (tmp_path / "site").symlink_to(Path(places["numpy"]).parent)
    linked = {name: str(tmp_path / "site" / name) for name in places}
    monkeypatch.setattr(sandbox, "installed", lambda _: linked)
    monkeypatch.setattr(sandbox, "read_only_paths", sandbox.read_only_paths.__wrapped__)
    assert printed_by(kind, "import numpy\nprint(numpy.arange(3).sum())") == "3\n"


@pytest.mark.parametrize("kind", WALLS)
def test_a_program_sees_no_file_process_network_or_right(kind: str) -> None:
    needs(kind)
    seen = json.loads(printed_by(kind, LOOK_AROUND))
    assert seen["user"] not in (0, os.getuid())
    assert seen["processes"] == ["1"]
    assert seen["descriptors"] == ["0", "1", "2"]
    assert seen["written"] == ["/tmp"]
    assert set(seen["environment"]) <= set(sandbox.ENVIRONMENT) | {"LD_LIBRARY_PATH", "PWD"}
    assert seen["capabilities"] == ["0000000000000000"] * 5
    assert seen["network"] == "PermissionError"
    assert "home" not in seen["root"]
    assert not set(seen["root"]) & {"etc/passwd", "var", "sys", "run", "mnt", "srv", "opt"}


LOOK_AROUND = """
import json, os, socket
def writable(folder):
    try:
        open(folder + '/written', 'w').close()
    except OSError:
        return False
    return True
status = open('/proc/self/status').read().splitlines()
try:
    network = socket.socket() and 'socket'
except OSError as error:
    network = type(error).__name__
folders = [folder for folder, _, _ in os.walk('/') if not folder.startswith('/proc')]
print(json.dumps({
    'user': os.getuid(),
    'processes': [name for name in os.listdir('/proc') if name.isdigit()],
    'descriptors': sorted(os.listdir('/proc/self/fd'))[:-1],
    'written': [folder for folder in folders if writable(folder)],
    'environment': dict(os.environ),
    'capabilities': [line.split()[1] for line in status if line.startswith('Cap')],
    'network': network,
    'root': os.listdir('/'),
}))
"""

ATTACKS = {
    "signals everyone": "import os\nfor p in (-1, 2, 3, 4, 5):\n    try: os.kill(p, 9)\n"
    "    except OSError: pass\n",
    "ends by a system call of tracers": "import ctypes\nctypes.CDLL(None).ptrace(16, 1, 0, 0)\n",
    "reads its parent": "import os\nassert os.getppid() == 0\nopen('/proc/0/mem', 'rb').read(1)\n",
    "takes memory that is in no account": "import os\nos.memfd_create('x')\n",
    "shares memory of System V": "import ctypes\n"
    "assert ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600) == -1\n",
    "opens an abstract socket": "import socket\nsocket.socket(socket.AF_UNIX).bind('\\0hidden')\n",
    "raises its limits": "import resource\n"
    "resource.setrlimit(resource.RLIMIT_AS, (1 << 50, 1 << 50))\n",
    "takes memory in ten processes": "import os, time\nfor i in range(10):\n"
    "    if os.fork() == 0:\n        x = bytearray(40 << 20)\n        time.sleep(9)\n"
    "time.sleep(9)\n",
    "takes shared memory": "import mmap\nx = [mmap.mmap(-1, 40 << 20) for _ in range(8)]\n"
    "for m in x: m.write(b'x' * (40 << 20))\n",
    "fills /dev/shm": "open('/dev/shm/x', 'wb').write(bytes(100 << 20))\n",
    "remounts": "import ctypes\nctypes.CDLL(None).mount(0, b'/', 0, 32 | 4096, 0)\n",
    "makes a user namespace by clone": "import ctypes\n"
    "ctypes.CDLL(None).syscall(56, 0x10000011, 0, 0, 0, 0)\n",
    "drips output": "import time\nwhile True:\n    print(6, flush=True)\n    time.sleep(.05)\n",
    "closes its output and stays": "import os, time\nos.close(1)\nos.close(2)\ntime.sleep(99)\n",
}


@pytest.mark.parametrize("kind", WALLS)
def test_known_ways_out_are_closed(kind: str) -> None:
    needs(kind)
    with CodeJudge(sandbox=kind, limits=Limits(seconds=1.5, total_seconds=5, memory_mb=200)) as one:
        verdicts = {}
        for name, attack in ATTACKS.items():
            verdicts[name] = one(attack + SUM, SUM_TESTS, is_program=True).verdict
            assert one(SUM, SUM_TESTS, is_program=True).outcome == 1.0, name
    harmless = ("signals everyone", "shares memory of System V")
    assert [name for name, v in verdicts.items() if v is Verdict.correct] == list(harmless)
    assert Verdict.no_verdict not in verdicts.values()
    assert verdicts["takes memory in ten processes"] is Verdict.memory
    assert verdicts["ends by a system call of tracers"] is Verdict.forbidden
    assert verdicts["remounts"] is Verdict.forbidden


def test_one_program_leaves_nothing_to_the_next(judged: CodeJudge) -> None:
    leave = (
        "import builtins, sys\nbuiltins.print = None\nsys.modules['json'] = None\n"
        "for p in ('/tmp/x', '/dev/shm/y'): open(p, 'w').write('left')\n"
        "sys.stdout.write('6')\n"
    )
    look = "import os, json\nassert os.listdir('/tmp') == os.listdir('/dev/shm') == []\n"
    assert judged(leave, SUM_TESTS, is_program=True).outcome == 1.0
    assert judged(look + SUM, SUM_TESTS, is_program=True).outcome == 1.0


def test_a_fork_remembers_no_earlier_program_or_input(judged: CodeJudge) -> None:
    marker = "recognisable" * 3
    tests = {"inputs": [f"{marker} input"], "outputs": [f"{marker} output"]}
    judged(f"print(input()[:36] + ' output') # {marker} source", tests, is_program=True)
    search = (
        "found = 0\nneedle = 'elbasingocer' * 3\nneedle = needle[::-1].encode()\n"
        "with open('/proc/self/mem', 'rb', 0) as memory:\n"
        "    for line in open('/proc/self/maps'):\n"
        "        if 'rw' not in line: continue\n"
        "        low, high = (int(x, 16) for x in line.split()[0].split('-'))\n"
        "        memory.seek(low)\n"
        "        found += memory.read(high - low).count(b'recog' + needle[5:])\n"
    )
    report = "print(found > 9)\n"  # the needle itself is there, in some copies
    tests = {"inputs": [""], "outputs": ["False\n"]}
    assert judged(search + report, tests, is_program=True).detail == ""


def test_a_dead_sandbox_is_replaced(judged: CodeJudge) -> None:
    assert judged(SUM, SUM_TESTS, is_program=True).outcome == 1.0
    os.kill(judged.workers[0].process.pid, signal.SIGKILL)
    assert judged(SUM, SUM_TESTS, is_program=True).outcome == 1.0


def test_without_bubblewrap_auto_takes_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.read_only_paths(packages.DEFAULT_PACKAGES)  # asks a command on the path, once
    monkeypatch.setenv("PATH", "/nowhere")
    assert choose_sandbox.__wrapped__("auto") == "namespaces"


def test_bubblewrap_is_chosen_where_it_works() -> None:
    needs("bubblewrap")
    assert choose_sandbox("auto") == "bubblewrap"


def test_without_any_sandbox_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in WALLS:
        monkeypatch.setitem(sandbox.COMMANDS, kind, lambda _: ["false"])
    with pytest.raises(ValueError, match="sandbox: none"):
        choose_sandbox.__wrapped__("auto")
    monkeypatch.setattr(
        "prime_core.verifiers.code.judging.choose_sandbox", choose_sandbox.__wrapped__
    )
    monkeypatch.setattr("prime_core.verifiers.code.judging.warm_judges", {})
    judgement = judge(SUM, SUM_TESTS, is_program=True)
    assert judgement.verdict is Verdict.no_verdict
    assert judgement.outcome is None
    assert "no sandbox" in judgement.detail


def test_an_unknown_sandbox_is_named() -> None:
    with pytest.raises(ValueError, match="'docker'"):
        CodeJudge(sandbox="docker")


def test_sandbox_none_runs_without_walls_but_with_limits_and_without_survivors() -> None:
    with CodeJudge(sandbox="none", limits=Limits(**{**SMALL, "seconds": 0.5})) as one:
        assert one(SUM, SUM_TESTS, is_program=True).outcome == 1.0
        daemon = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)\n"
        assert one(daemon + SUM, SUM_TESTS, is_program=True).outcome == 1.0
        assert len(wait_for_family(os.getpid(), 1)) >= 1
        assert not [
            pid for pid in wait_for_family(one.workers[0].process.pid, 0) if is_running(pid)
        ]
        loop = one("while True: pass", SUM_TESTS, is_program=True)
        assert loop.verdict is Verdict.timeout
        hoard = one("x = []\nwhile True: x.append(bytes(1 << 24))", SUM_TESTS, is_program=True)
        assert hoard.verdict is Verdict.memory


def test_cold_sandboxes_are_new_for_every_program() -> None:
    kind = choose_sandbox("auto")
    with CodeJudge(sandbox=kind, warm=False) as one:
        assert one(SUM, SUM_TESTS, is_program=True).outcome == 1.0
        assert one.workers == []
