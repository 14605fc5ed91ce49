"""One holder at a time: by flock where processes share it, by heartbeats where they do not."""

import errno
import fcntl
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prime_core.runtime import run_lock
from prime_core.runtime.run_lock import (
    RECORD_BYTES,
    RunBusy,
    RunLock,
    find_holder,
    lock_file,
    machine,
)

SECONDS = 0.2  # between heartbeats
ENDLESS = 3600.0  # who waits for three of these runs into the test's time-out
# It takes the lock, says so, and holds it until it is told to end.
PROCESS = """
import fcntl, os, socket, sys, time
from pathlib import Path
from prime_core.runtime import run_lock
run, host = Path(sys.argv[1]), sys.argv[2]
run_lock.SECONDS_BETWEEN_HEARTBEATS = float(sys.argv[3])
if host:  # on a host whose flock no other host sees
    socket.sethostname(host)
    own, flock = open(f"{run}-{host}", "w"), fcntl.flock
    fcntl.flock = lambda _descriptor, mode: flock(own, mode)
lock = run_lock.RunLock(run)
time.sleep(max(0.0, float(sys.argv[4]) - time.time()))
try:
    lock.take()
except run_lock.RunBusy as busy:
    print(f"busy: {busy}", flush=True)
else:
    print(f"holding as {os.getpid()}", flush=True)
    sys.stdin.readline()
"""
# A kernel, a host name and process numbers of its own.
HOST = (
    "unshare",
    "--mount",
    "--uts",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "sh",
    "-c",
)
BOOT = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "SECONDS_BETWEEN_HEARTBEATS", SECONDS)


@functools.cache
def host_command() -> tuple[str, ...]:
    """What makes a command run on another host; skips where Linux namespaces are forbidden."""
    unshare, *options = HOST
    command = (unshare, *([] if os.geteuid() == 0 else ["--map-root-user"]), *options)
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode and not os.environ.get("CI"):
        pytest.skip(f"no namespaces: {tried.stderr.strip()}")
    return command


def start(
    run: Path, host: str = "", seconds: float = SECONDS, at: float = 0.0
) -> subprocess.Popen[str]:
    """A process that takes the lock at some time. host: "" is this one."""
    command = [sys.executable, "-c", PROCESS, str(run), host, str(seconds), str(at)]
    if host:
        boot_id = run.with_name(f"{host}.boot_id")
        boot_id.write_text(f"{uuid.uuid4()}\n")
        command = [*host_command(), BOOT, str(boot_id), *command]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def said(process: subprocess.Popen[str]) -> str:
    """The next line of a process."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    """Let a process end as it does when nothing happens."""
    assert process.stdin is not None
    print(file=process.stdin, flush=True)
    process.wait()


@contextmanager
def holder(run: Path, host: str = "", seconds: float = SECONDS) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock; killed at the end."""
    process = start(run, host, seconds)
    try:
        assert said(process).startswith("holding")
        yield process
    finally:
        process.kill()
        said(process)  # it is dead; the end of its input must not reach it before the signal
        process.communicate()


def test_another_host_is_refused_as_long_as_the_holder_sends_heartbeats(tmp_path):
    run = tmp_path / "run"
    with holder(run, "there"):
        for _ in range(2):
            with pytest.raises(RunBusy) as busy:
                RunLock(run).take()
            message = str(busy.value)
            # The first process of its host, as one is of this: numbers say nothing elsewhere.
            assert f"is running in {run} (process 1 on there, since 20" in message
            assert "; last heartbeat 20" in message


def test_another_host_takes_over_from_a_killed_holder_after_three_heartbeats(tmp_path, capsys):
    with holder(tmp_path / "run", "there"):
        pass
    began = time.monotonic()
    RunLock(tmp_path / "run").take()
    assert time.monotonic() - began >= 3 * SECONDS
    assert "was held by process 1 on there, since " in capsys.readouterr().err


def test_on_the_same_machine_a_killed_holder_is_replaced_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "SECONDS_BETWEEN_HEARTBEATS", ENDLESS)
    with holder(tmp_path / "run") as process:
        with pytest.raises(RunBusy, match=rf"\(process {process.pid} on "):
            RunLock(tmp_path / "run").take()
        process.send_signal(signal.SIGKILL)
        process.wait()
        RunLock(tmp_path / "run").take()


def test_a_holder_that_ends_gives_the_run_back_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "SECONDS_BETWEEN_HEARTBEATS", ENDLESS)
    with holder(tmp_path / "run", "there") as process:
        end(process)
        RunLock(tmp_path / "run").take()


def test_a_holder_that_ends_while_it_is_watched_is_replaced_without_waiting_on(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(run_lock, "SECONDS_BETWEEN_HEARTBEATS", ENDLESS)
    with holder(tmp_path / "run", "there", ENDLESS) as process:
        threading.Timer(0.5, end, [process]).start()
        RunLock(tmp_path / "run").take()


def test_what_one_process_took_it_holds_when_it_takes_again(tmp_path):
    lock = RunLock(tmp_path)
    lock.take()
    lock.take()
    lock.release()
    lock.release()
    lock.take()


def test_a_lock_that_is_forgotten_is_given_back(tmp_path):
    lock = RunLock(tmp_path)
    lock.take()
    assert lock_file(tmp_path).read_text().strip()
    del lock
    assert not lock_file(tmp_path).read_text().strip()


@pytest.mark.parametrize("left_by_the_dead", [False, True])
def test_of_newcomers_at_the_same_moment_on_many_hosts_one_gets_the_run(left_by_the_dead, tmp_path):
    run = tmp_path / "run"
    if left_by_the_dead:
        with holder(run, "there"):
            pass
    at = time.time() + 1.5
    racers = [start(run, f"host{number}", 0.5, at) for number in range(4)]
    try:
        answers = [said(racer) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert sorted(answer.split()[0] for answer in answers) == [*["busy:"] * 3, "holding"]


def test_a_claim_left_behind_by_a_kill_delays_but_does_not_refuse(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "CLAIM_SECONDS", 0.3)
    claim = lock_file(tmp_path).with_name("workflow.claim")
    claim.parent.mkdir()
    claim.write_text("")
    RunLock(tmp_path).take()
    assert not claim.exists()


def test_claims_of_others_are_waited_for_however_many_follow_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "CLAIM_SECONDS", 0.4)
    claim = lock_file(tmp_path).with_name("workflow.claim")
    claim.parent.mkdir()
    claim.write_text("")
    newcomer = threading.Thread(target=RunLock(tmp_path).take)
    newcomer.start()
    for _ in range(20):  # each a newcomer's, who has it for a moment
        time.sleep(0.05)
        os.utime(claim)
    claim.unlink()
    newcomer.join()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_heartbeats_decide_even_on_one_machine(number, tmp_path, monkeypatch):
    def no_locks(_descriptor: int, _mode: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    first.take()
    with pytest.raises(RunBusy):
        second.take()
    assert find_holder(tmp_path) is not None
    os.utime(lock_file(tmp_path), (0, 0))
    assert find_holder(tmp_path) is None
    first.release()
    second.take()


def test_two_mounts_of_a_folder_are_not_taken_to_share_their_locks(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    with a.open("w") as one, b.open("w") as same, Path("/proc/version").open() as other:
        assert machine(one.fileno()) == machine(same.fileno()) != machine(other.fileno())


def test_other_errors_of_the_file_system_are_shown(tmp_path, monkeypatch):
    def broken(_descriptor: int, _mode: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="broken"):
        RunLock(tmp_path).take()


def test_a_holder_that_slept_and_was_replaced_stops_in_good_order(tmp_path, monkeypatch, capsys):
    heard = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: heard.set())
    monkeypatch.setattr(run_lock, "SECONDS_BETWEEN_HEARTBEATS", 2.0)
    run = tmp_path / "run"
    slow = RunLock(run)
    slow.take()
    try:
        with holder(run, "there"):
            assert heard.wait(5)
            assert f"{run} was taken over by process 1 on there, " in capsys.readouterr().err
            slow.release()  # takes nothing from the new holder
            with pytest.raises(RunBusy):
                RunLock(run).take()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_slurm_job_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    first = RunLock(tmp_path)
    first.take()
    with pytest.raises(RunBusy, match=r", Slurm job 4711, since "):
        RunLock(tmp_path).take()


def test_a_file_of_the_earlier_kind_or_cut_off_is_nobodys(tmp_path):
    path = lock_file(tmp_path)
    path.parent.mkdir()
    for text in ("process 12 on nodeA\n", '{"host": "no', ""):
        path.write_text(text)
        assert find_holder(tmp_path) is None
        lock = RunLock(tmp_path)
        lock.take()
        record = path.read_bytes()
        assert len(record) == RECORD_BYTES
        assert json.loads(record)["pid"] == os.getpid()
        lock.release()


def test_who_only_looks_finds_a_holder_of_this_machine_by_its_lock(tmp_path):
    run = tmp_path / "run"
    assert find_holder(run) is None
    with holder(run) as process:
        os.utime(lock_file(run), (0, 0))
        found = find_holder(run)
        assert found is not None
        assert (found.pid, found.is_here) == (process.pid, True)
        with pytest.raises(RunBusy):  # the look has taken nothing from it
            RunLock(run).take()
    assert find_holder(run) is None


def test_who_only_looks_finds_a_holder_elsewhere_by_its_heartbeats(tmp_path):
    run = tmp_path / "run"
    with holder(run, "there"):
        pass
    for silent, name in ((0, "there"), (20, "there"), (90, None)):
        os.utime(lock_file(run), (time.time() - silent, time.time() - silent))
        found = find_holder(run)
        assert (found and found.host) == name


def test_a_holder_that_was_silent_when_this_host_started_ended_with_it(tmp_path, monkeypatch):
    run = tmp_path / "run"
    for name, ended in ((socket.gethostname(), True), ("there", False)):
        with holder(run, name):
            pass
        heartbeat = lock_file(run).stat().st_mtime
        monkeypatch.setattr(run_lock.psutil, "boot_time", lambda at=heartbeat: at - 1)
        assert find_holder(run) is not None
        monkeypatch.setattr(run_lock.psutil, "boot_time", lambda at=heartbeat: at + 1)
        assert (find_holder(run) is None) == ended


def test_a_process_of_another_host_is_not_here_though_the_hosts_have_one_name(tmp_path):
    run = tmp_path / "run"
    with holder(run, socket.gethostname()):
        found = find_holder(run)
        assert found is not None
        assert (found.host, found.is_here) == (socket.gethostname(), False)
