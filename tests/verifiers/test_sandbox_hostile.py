"""The hostile set in every sandbox, as root and as nobody, and the death of the judging process.

The programs are judged in a process of their own (test_sandbox_driver.py), which watches files,
ports, memory and processes while they run.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prime_core.verifiers.verdict import Verdict
from tests.support.shared_data import ROOT, read_jsonl
from tests.verifiers.test_sandbox import (
    SMALL,
    SUM,
    SUM_TESTS,
    WALLS,
    is_running,
    needs,
    wait_for_family,
)

NOBODY = 65534


def readable_python() -> str:
    """An interpreter that every user can start: ours may lie in a folder closed to others."""
    for path in (sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin")):
        with contextlib.suppress(PermissionError):
            if path and subprocess.run([path, "-c", "0"], user=NOBODY).returncode == 0:
                return path
    raise AssertionError("no python3 that another user can start, such as /usr/bin/python3")


@pytest.fixture(scope="module")
def open_copy() -> Iterator[Path]:
    """The verifiers in a folder that every user can read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "prime_core").mkdir()
    shutil.copy(ROOT / "prime_core/__init__.py", folder / "prime_core")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "prime_core/verifiers", folder / "prime_core/verifiers", ignore=ignored)
    (folder / "tests/verifiers").mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "test_sandbox_driver.py", folder / "tests/verifiers")
    yield folder
    shutil.rmtree(folder)


def drive(folder: Path, rows: list[dict], kind: str, *, as_nobody: bool, linger: float = 0) -> list:
    """What the driver says of the rows, judged there as we are or as an unprivileged user."""
    order = {"rows": rows, "sandbox": kind, "limits": SMALL, "linger": linger}
    user: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    result = subprocess.run(
        [
            readable_python() if as_nobody else sys.executable,
            str(folder / "tests/verifiers/test_sandbox_driver.py"),
        ],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        cwd=folder,
        **(user if as_nobody else {}),
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def hostile_rows() -> list[dict]:
    rows = read_jsonl("code_adversarial.jsonl")
    return [{**row, "prompt": row["problem"]} for row in rows]


def users() -> list[bool]:
    """Whether to judge as nobody; who is not root can only be himself."""
    return [False, True] if os.getuid() == 0 else [False]


def check(folder: Path, rows: list[dict], kind: str, *, as_nobody: bool, linger: float) -> None:
    *results, end = drive(folder, rows, kind, as_nobody=as_nobody, linger=linger)
    assert end["survivors"] == 0
    assert end["broken"] == [], "something was touched after the verdict"
    wrong = [
        (row["id"], result["verdict"], result["detail"], result["broken"])
        for row, result in zip(rows, results, strict=True)
        if result["broken"]
        or result["verdict"] == Verdict.no_verdict
        or (row["expected"] is not None and row["expected"] != (result["verdict"] == "correct"))
    ]
    assert wrong == []


def test_hostile_programs_get_nothing_and_right_ones_pass(open_copy: Path) -> None:
    needs("bubblewrap")
    quick = [row for row in hostile_rows() if row["category"] not in ("time", "process")]
    quick = [row for row in quick if "CPU" not in row["note"]]
    check(open_copy, quick, "bubblewrap", as_nobody=False, linger=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "as_nobody"), [(kind, as_nobody) for kind in WALLS for as_nobody in users()]
)
def test_the_whole_hostile_set_gets_nothing_in_any_sandbox_as_any_user(
    open_copy: Path, kind: str, as_nobody: bool
) -> None:
    needs(kind)
    # a daemon that one program leaves behind would write its file after 4 seconds
    check(open_copy, hostile_rows(), kind, as_nobody=as_nobody, linger=4)


@pytest.mark.parametrize("as_nobody", users())
@pytest.mark.parametrize("kind", WALLS)
def test_a_sandbox_works_for_root_and_for_others(
    open_copy: Path, kind: str, as_nobody: bool
) -> None:
    needs(kind)
    rows = [{"id": "sum", "program": SUM, "tests": SUM_TESTS, "prompt": ""}]
    first, end = drive(open_copy, rows, kind, as_nobody=as_nobody)
    assert (first["verdict"], first["broken"], end["broken"]) == ("correct", [], [])


def test_nothing_survives_when_the_judging_process_is_killed(open_copy: Path) -> None:
    for kind in WALLS:
        needs(kind)
        program = (
            f"import sys; sys.path.insert(0, {str(open_copy)!r})\n"
            "from prime_core.verifiers.code import judge\n"
            "print(flush=True)\n"
            "judge('import os, time\\nos.fork()\\nos.setsid()\\ntime.sleep(1000)',"
            f" {{'inputs': ['']*2, 'outputs': ['']*2}}, is_program=True, sandbox={kind!r})\n"
        )
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        assert process.stdout
        process.stdout.readline()
        family = wait_for_family(process.pid, 4)
        process.kill()
        process.wait()
        process.stdout.close()
        deadline = time.monotonic() + 5
        while left := [pid for pid in family if is_running(pid)]:
            assert time.monotonic() < deadline, f"{kind}: {left} survived"
            time.sleep(0.02)
