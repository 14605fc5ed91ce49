"""One holder at a time: on one machine by flock, between machines by touches of the lock file."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prime_core.runtime.run_lock import RECORD_BYTES, Lease, RunBusy

INTERVAL = 0.2
ENDLESS = 3600.0  # who waits for three of these intervals runs into the test's time-out
# One process on a machine whose locks no other machine sees: it takes the lease, says so, holds.
PROCESS = """
import fcntl, sys, time
from pathlib import Path
from prime_core.runtime.run_lock import Lease, RunBusy
path, machine = Path(sys.argv[1]), sys.argv[2]
path.parent.mkdir(parents=True, exist_ok=True)
local = open(f"{path}-{machine}", "w")
def flock(_descriptor):
    fcntl.flock(local, fcntl.LOCK_EX | fcntl.LOCK_NB)
lease = Lease(path, path.parent, interval=float(sys.argv[3]), machine=machine, flock=flock)
if len(sys.argv) > 4:
    time.sleep(max(0.0, float(sys.argv[4]) - time.time()))
try:
    lease.take()
except RunBusy as busy:
    print(f"busy: {busy}", flush=True)
else:
    print("holding", flush=True)
    sys.stdin.readline()
"""


def start(path: Path, machine: str, *more: str, interval: float = INTERVAL) -> subprocess.Popen:
    """A process on a machine of its own that takes the lease; it ends with its standard input."""
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(path), machine, str(interval), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen) -> str:
    """The next line of a process."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@contextmanager
def holder(path: Path, machine: str) -> Iterator[subprocess.Popen]:
    """A process that holds the lease; killed at the end."""
    process = start(path, machine)
    try:
        assert said(process) == "holding"
        yield process
    finally:
        process.kill()
        process.wait()


def lease_on(path: Path, machine: str = "here", **more: object) -> Lease:
    """A lease of this process on a machine without locks that others see."""
    options = {"interval": INTERVAL, "flock": lambda _: None} | more
    return Lease(path, path.parent, machine=machine, **options)  # type: ignore[arg-type]


def test_another_machine_is_refused_as_long_as_the_holder_touches_the_file(tmp_path):
    path = tmp_path / "run" / "lock"
    with holder(path, "there") as process:
        for _ in range(2):
            with pytest.raises(RunBusy) as busy:
                lease_on(path).take()
            message = str(busy.value)
            assert f"at work on {path.parent} (process {process.pid} on " in message
            assert ", since 20" in message
            assert "; last sign of life 20" in message


def test_another_machine_takes_over_from_a_killed_holder_after_three_intervals(tmp_path, capsys):
    path = tmp_path / "lock"
    with holder(path, "there") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    began = time.monotonic()
    lease_on(path).take()
    assert time.monotonic() - began >= 3 * INTERVAL
    assert f"was held by process {process.pid} on " in capsys.readouterr().err


def test_on_the_same_machine_a_killed_holder_is_replaced_at_once(tmp_path):
    path = tmp_path / "lock"
    with holder(path, "here") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    lease_on(path, interval=ENDLESS).take()


def test_a_holder_that_ends_gives_the_run_back_at_once(tmp_path):
    path = tmp_path / "lock"
    with holder(path, "there") as process:
        process.communicate()
    lease_on(path, interval=ENDLESS).take()


def test_a_holder_that_ends_while_it_is_watched_is_replaced_without_waiting_on(tmp_path):
    path = tmp_path / "lock"
    first = lease_on(path, "there", interval=ENDLESS)  # never touches
    first.take()
    threading.Timer(0.5, first.release).start()
    lease_on(path, interval=ENDLESS).take()


def test_what_one_process_took_it_holds_when_it_takes_again(tmp_path):
    lease = lease_on(tmp_path / "lock")
    lease.take()
    lease.take()
    lease.release()
    lease.release()
    lease.take()


def test_a_lease_that_is_forgotten_is_given_back(tmp_path):
    lease = lease_on(tmp_path / "lock", "there")
    lease.take()
    del lease
    lease_on(tmp_path / "lock", interval=ENDLESS).take()


@pytest.mark.parametrize("left_by_the_dead", [False, True])
def test_of_newcomers_at_the_same_moment_on_many_machines_one_gets_the_run(
    left_by_the_dead, tmp_path
):
    path = tmp_path / "lock"
    if left_by_the_dead:
        with holder(path, "there"):
            pass
    at = str(time.time() + 1.5)
    racers = [start(path, f"machine{number}", at, interval=0.5) for number in range(4)]
    try:
        answers = [said(racer) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert sorted(answer.partition(":")[0] for answer in answers) == [*["busy"] * 3, "holding"]


def test_a_claim_left_behind_by_a_kill_delays_but_does_not_refuse(tmp_path, monkeypatch):
    monkeypatch.setattr("prime_core.runtime.run_lock.CLAIM_SECONDS", 0.3)
    (tmp_path / "lock.claim").write_text("")
    lease_on(tmp_path / "lock").take()
    assert not (tmp_path / "lock.claim").exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_the_touches_decide_even_on_one_machine(number, tmp_path):
    def no_locks(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    first = lease_on(tmp_path / "lock", flock=no_locks)
    first.take()
    with pytest.raises(RunBusy):
        lease_on(tmp_path / "lock", flock=no_locks).take()
    first.release()
    lease_on(tmp_path / "lock", flock=no_locks).take()


def test_other_errors_of_the_file_system_are_shown(tmp_path):
    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        lease_on(tmp_path / "lock", flock=broken).take()


def test_a_holder_that_slept_and_was_replaced_hears_of_it(tmp_path):
    path = tmp_path / "lock"
    heard: list[str] = []
    slow = lease_on(path, "there", interval=2.0, on_loss=heard.append)
    slow.take()
    with holder(path, "elsewhere") as process:
        deadline = time.monotonic() + 5
        while not heard and time.monotonic() < deadline:
            time.sleep(0.05)
        (sentence,) = heard
        assert f"was taken over by process {process.pid} on " in sentence
        slow.release()  # takes nothing from the new holder
        with pytest.raises(RunBusy):
            lease_on(path).take()


def test_a_slurm_job_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    lease_on(tmp_path / "lock", "there").take()  # forgotten at once
    first = lease_on(tmp_path / "lock", "there")
    first.take()
    with pytest.raises(RunBusy, match=r", Slurm job 4711, since "):
        lease_on(tmp_path / "lock").take()


def test_a_file_of_the_earlier_kind_or_cut_off_is_nobodys(tmp_path):
    for text in ("process 12 on nodeA\n", '{"host": "no', ""):
        (tmp_path / "lock").write_text(text)
        lease = lease_on(tmp_path / "lock")
        lease.take()
        record = (tmp_path / "lock").read_bytes()
        assert len(record) == RECORD_BYTES
        assert json.loads(record)["pid"] == os.getpid()
        lease.release()
