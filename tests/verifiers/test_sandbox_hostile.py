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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.shared_data import ROOT, read_jsonl
from tests.verifiers.odd_programs import PROGRAMS
from tests.verifiers.test_sandbox import (
    SMALL,
    SUM_TESTS,
    WALLS,
    is_running,
    needs,
    wait_for_family,
)
from tests.verifiers.test_sandbox_driver import Bait

NOBODY = 65534


def users() -> list[bool]:
    """Whether to judge as nobody; who is not root can only be himself."""
    return [False, True] if os.getuid() == 0 else [False]


def can(kind: str) -> bool:
    """Whether this sandbox is to be tried here (needs() fails or skips where it is not)."""
    return kind != "bubblewrap" or shutil.which("bwrap") is not None


def readable_python() -> str:
    """An interpreter that every user can start: ours may lie in a folder closed to others."""
    for path in (sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin")):
        with contextlib.suppress(PermissionError):
            if path and subprocess.run([path, "-c", "0"], user=NOBODY).returncode == 0:
                return path
    raise AssertionError("no python3 that another user can start, such as /usr/bin/python3")


COMBINATIONS = [(kind, as_nobody) for kind in WALLS for as_nobody in users()]
# A right program has time on a loaded machine, too; one that is not shall not take ours.
LONG = {"seconds": 5.0, "total_seconds": 30.0}
BRIEF = {"seconds": 0.25, "total_seconds": 2.0}


@pytest.fixture(scope="module")
def open_copy() -> Iterator[Path]:
    """The verifiers in a folder that every user can read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "prime_core/runtime").mkdir(parents=True)
    for name in ("__init__.py", "runtime/__init__.py", "runtime/text.py"):
        shutil.copy(ROOT / "prime_core" / name, folder / "prime_core" / name)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "prime_core/verifiers", folder / "prime_core/verifiers", ignore=ignored)
    (folder / "tests/verifiers").mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "test_sandbox_driver.py", folder / "tests/verifiers")
    yield folder
    shutil.rmtree(folder)


def drive(
    folder: Path, rows: list[dict], bait: Bait, kind: str, *, as_nobody: bool, linger: float = 0
) -> list:
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
        env={**os.environ, **bait.environment},
        **(user if as_nobody else {}),
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def hostile_rows() -> list[dict]:
    """Both files of hostile programs and our own, each with as little time as it may have."""
    rows = read_jsonl("code_adversarial.jsonl") + read_jsonl("sandbox_cases_2.jsonl")
    rows += [
        {"id": name, "program": odd.source, "tests": SUM_TESTS, "expected": odd.right}
        for name, odd in PROGRAMS.items()
    ]
    return [
        {"must": [], "prompt": row.get("problem", ""), **row}
        | {"limits": LONG if row["expected"] else BRIEF}
        for row in rows
    ]


@pytest.fixture(scope="module")
def judged_everywhere(open_copy: Path) -> dict[tuple[str, bool], list[dict]]:
    """What became of all hostile rows, by sandbox and user: side by side, since most wait."""
    rows = hostile_rows()
    available = [(kind, as_nobody) for kind, as_nobody in COMBINATIONS if can(kind)]
    with Bait() as bait, ThreadPoolExecutor(len(available)) as pool:
        # A daemon that one program leaves behind would write its file after 4 seconds.
        jobs = {
            (kind, as_nobody): pool.submit(
                drive, open_copy, rows, bait, kind, as_nobody=as_nobody, linger=4
            )
            for kind, as_nobody in available
        }
        results = {combination: job.result() for combination, job in jobs.items()}
        assert bait.touched() == [], "something was touched"
    return results


@pytest.mark.parametrize(("kind", "as_nobody"), COMBINATIONS)
def test_hostile_programs_get_nothing_and_right_ones_pass_in_any_sandbox_as_any_user(
    judged_everywhere: dict[tuple[str, bool], list[dict]], kind: str, as_nobody: bool
) -> None:
    needs(kind)
    *results, end = judged_everywhere[kind, as_nobody]
    assert end["survivors"] == 0
    wrong = [
        (row["id"], result["verdict"], result["detail"], result["broken"])
        for row, result in zip(hostile_rows(), results, strict=True)
        if result["broken"]
        or (row["expected"] is not None and row["expected"] != (result["verdict"] == "correct"))
    ]
    assert wrong == []
    assert all(result["detail"].isprintable() for result in results)


def test_nothing_survives_when_the_judging_process_is_killed(open_copy: Path) -> None:
    for kind in WALLS:
        needs(kind)
        program = (
            f"import sys; sys.path.insert(0, {str(open_copy)!r})\n"
            "from prime_core.verifiers.code import judge\n"
            "print(flush=True)\n"
            "judge('import os, time\\nif os.fork() == 0: os.setsid()\\ntime.sleep(1000)',"
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
