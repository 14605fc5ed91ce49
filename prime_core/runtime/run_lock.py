"""One workflow at a time in a run's folder, also where hosts do not see each other's locks.

In: a run's folder. Out: a RunLock that this process holds until it ends, or RunBusy naming who
does; find_holder tells who holds a run and takes nothing.

The system frees `flock` however a process ends, so between processes that share it, it decides
alone. Some network file systems keep it to each machine, or do not have it. So the holder also
touches the lock file every few seconds, and a newcomer elsewhere watches for such a heartbeat. The
file is compared with itself only: clocks need not agree. docs/decisions.md says why this is not
filelock's SoftFileLease.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
import uuid
import weakref
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from prime_core.runtime.console import note
from prime_core.runtime.locks import try_flock

SECONDS_BETWEEN_HEARTBEATS = 10.0
# After so many without a heartbeat a holder counts as dead. One may be late: a busy disk, a
# server that restarts.
MISSED_HEARTBEATS = 3
# A record is always this long, so that one write replaces it as a whole.
RECORD_BYTES = 1024
# find_holder (`prime status`) has the lock for a moment; that must not refuse a workflow.
LOCK_SECONDS = 0.5
# A claim guards a few milliseconds; one that is older was left behind by a kill.
CLAIM_SECONDS = 5.0
# find_holder does not watch: it compares the file server's clock with this host's.
CLOCK_SKEW = 30.0


class RunBusy(ValueError):
    """Another workflow is running in the same folder."""


@dataclass(frozen=True)
class Holder:
    """A process that holds a run.

    machine: the same for processes that share flock; slurm_job: "" outside of Slurm; since:
    seconds since 1970.
    """

    host: str
    machine: str
    pid: int
    slurm_job: str
    since: float
    # Host, machine and pid do not identify a hold: containers may share all three.
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def is_here(self) -> bool:
        """Whether pid is a process of this host: another may bear its name, or have restarted."""
        return self.host == socket.gethostname() and self.machine.startswith(_kernel())

    def __str__(self) -> str:
        job = f", Slurm job {self.slurm_job}" if self.slurm_job else ""
        return f"process {self.pid} on {self.host}{job}, since {_clock(self.since)}"


class RunLock:
    """The right to run a workflow in a folder.

    It is given back by release(), when the object is collected, and when the process ends.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        # Read now: Snakemake's executors take what Slurm set out of the environment.
        self._slurm_job = os.environ.get("SLURM_JOB_ID", "")
        self._release: weakref.finalize | None = None

    def take(self) -> None:
        """Hold the run; nothing happens when this object holds it already.

        Raises RunBusy naming who holds it. Takes half a minute when the last holder was another
        machine and did not give the run back.
        """
        if self._release is not None and self._release.alive:
            return
        path = lock_file(self._run_dir)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not truncated: the last record says whom to watch. Closed on exec: the lock belongs to the
        # open file, so a program that inherited it would hold the run after this process.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            me = Holder(
                socket.gethostname(), machine(descriptor), os.getpid(), self._slurm_job, time.time()
            )
            hold = _Hold(self._run_dir, path, descriptor, me)
            hold.acquire()
        # Ctrl-C during the half minute of watching as well.
        except BaseException:
            os.close(descriptor)
            raise
        # The thread has the hold, not this object: else nothing would ever collect it.
        threading.Thread(target=hold.send_heartbeats, name="run-lock", daemon=True).start()
        self._release = weakref.finalize(self, hold.release)

    def release(self) -> None:
        """Give the run back: the next holder need not wait."""
        if self._release is not None:
            self._release()


def find_holder(run_dir: Path) -> Holder | None:
    """The process that holds a run, or seems to; None where there is none."""
    try:
        with lock_file(run_dir).open("rb") as file:
            seen = _read(file.fileno())
            if seen.holder is None:
                return None
            if seen.holder.machine == machine(file.fileno()):
                # Shared: several may look at once, and reading is all that a looker may do.
                free = try_flock(file.fileno(), shared=True)
                # None: no locks on this file system, so heartbeats decide even on one machine.
                if free is not None:
                    return None if free else seen.holder
    except FileNotFoundError:
        return None
    if _ended_with_boot(seen):
        return None
    longest = MISSED_HEARTBEATS * SECONDS_BETWEEN_HEARTBEATS + CLOCK_SKEW
    return seen.holder if time.time() - seen.touched / 1e9 < longest else None


def _ended_with_boot(seen: _Seen) -> bool:
    """Whether a holder of this host's name was silent when this host started: it ended with it.

    Only find_holder believes it: a workflow that takes the run watches for heartbeats, since
    another host may bear the same name.
    """
    assert seen.holder is not None
    another_kernel = not seen.holder.machine.startswith(_kernel())
    return (
        seen.holder.host == socket.gethostname()
        and another_kernel
        and seen.touched / 1e9 < psutil.boot_time()
    )


def lock_file(run_dir: Path) -> Path:
    """The file that names a run's holder; it stays when the run is given back."""
    return run_dir.absolute() / ".locks" / "workflow"


def machine(descriptor: int) -> str:
    """The same for two processes if they see each other's flock on an open file.

    The running kernel, whatever its containers call themselves, and the mounted file system: the
    kernel keeps the locks of two mounts of one network folder apart.
    """
    return f"{_kernel()} {os.fstat(descriptor).st_dev}"


@dataclass(frozen=True)
class _Seen:
    """The lock file at one moment. touched: nanoseconds since 1970."""

    # Two are compared as a whole: a heartbeat changes `touched` alone, a new holder both.
    record: bytes
    touched: int

    @property
    def holder(self) -> Holder | None:
        try:
            return Holder(**json.loads(self.record))
        except (ValueError, TypeError):  # blank: given back; anything else: not ours to read
            return None


@dataclass(frozen=True)
class _Hold:
    """One hold of a run, from the first look at the lock file until it is given back."""

    run_dir: Path
    path: Path
    descriptor: int
    me: Holder
    released: threading.Event = field(default_factory=threading.Event)

    def acquire(self) -> None:
        """Write this process into the lock file once nobody holds it. Raises RunBusy."""
        # First: where flock is shared it decides at once, and who is refused has written nothing.
        locked = self._flock()
        # Several may find the run free at the same moment; all but one then see a changed file.
        while not self._write_unless_changed(self._wait_until_free(locked)):
            pass

    def send_heartbeats(self) -> None:
        """Touch the lock file until the run is given back or turns out to be taken over."""
        while not self.released.wait(SECONDS_BETWEEN_HEARTBEATS):
            # A file system that hangs or is gone is no reason to stop.
            with contextlib.suppress(OSError):
                holder = _look(self.path).holder
                # Given back while it was being read: the blank record would pass for a takeover.
                if self.released.is_set():
                    return
                if holder != self.me:
                    # This process was paused for longer than others wait: a closed laptop, SIGSTOP.
                    note(
                        f"{self.run_dir} was taken over by {holder or 'nobody'} while this "
                        "workflow sent no heartbeats; it stops once its running stages have ended"
                    )
                    os.kill(os.getpid(), signal.SIGTERM)  # Snakemake then starts no new stages
                    return
                # No time given: a network file system then takes its server's clock, as CLOCK_SKEW
                # assumes.
                os.utime(self.path)

    def release(self) -> None:
        """Give the run back, unless another process has it by now."""
        if os.getpid() != self.me.pid:  # a fork's end is not the holder's
            return
        self.released.set()
        with contextlib.suppress(OSError):
            if _look(self.path).holder == self.me:
                _write(self.descriptor, "")
        # Last, since it frees the flock: whoever gets that then finds the record blank.
        os.close(self.descriptor)

    def _flock(self) -> bool:
        """Whether this process now has the flock; False where there is none."""
        end = time.monotonic() + LOCK_SECONDS
        while (locked := try_flock(self.descriptor)) is False:
            if time.monotonic() > end:
                raise self._busy(_look(self.path))
            time.sleep(0.05)
        return bool(locked)

    def _wait_until_free(self, locked: bool) -> _Seen:
        """The lock file once nobody holds it. Raises RunBusy when somebody does."""
        while True:
            seen = _look(self.path)
            holder = seen.holder
            # With the lock in hand, a holder of this machine is dead: alive, it would have the
            # lock. One of another machine may be alive, since its flock is not visible here.
            if holder is None or (locked and holder.machine == self.me.machine):
                return seen
            now = self._watch(seen)
            if now == seen:
                return seen
            # Blank now: it was released, and is read again, since others may be quicker.
            if now.holder is not None:
                raise self._busy(now)

    def _watch(self, seen: _Seen) -> _Seen:
        """The lock file when it changes, else as it was, after MISSED_HEARTBEATS heartbeats."""
        seconds = MISSED_HEARTBEATS * SECONDS_BETWEEN_HEARTBEATS
        note(f"{self.run_dir} was held by {seen.holder}; watching {seconds:.0f} s for a heartbeat")
        end = time.monotonic() + seconds
        while (now := _look(self.path)) == seen and time.monotonic() < end:
            time.sleep(min(1.0, SECONDS_BETWEEN_HEARTBEATS / 5))
        return now

    def _write_unless_changed(self, seen: _Seen) -> bool:
        """Write this process down, unless the file has changed since it was seen.

        Of several newcomers only one can create the claim (O_EXCL holds across machines).
        """
        claim = self.path.with_name(f"{self.path.name}.claim")
        _create(claim)
        try:
            # Who waited for the claim finds here what the one before it has written.
            if _look(self.path) != seen:
                return False
            _write(self.descriptor, json.dumps(asdict(self.me)))
            return True
        finally:
            claim.unlink(missing_ok=True)

    def _busy(self, seen: _Seen) -> RunBusy:
        who = str(seen.holder or "which has just begun")
        return RunBusy(
            f"another workflow is running in {self.run_dir} ({who}; "
            f"last heartbeat {_clock(seen.touched / 1e9)})"
        )


def _create(claim: Path) -> None:
    """Create a file that is not there, once it is not; one left behind by a kill is removed."""
    found, end = 0, 0.0
    while True:
        try:
            os.close(os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            return
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                created = claim.stat().st_mtime_ns
                if created != found:  # another newcomer's
                    # Its age is measured by this process alone: clocks of hosts and servers differ.
                    found, end = created, time.monotonic() + CLAIM_SECONDS
                elif time.monotonic() > end:
                    claim.unlink()
                    # Others remove it at the same moment. Created at once, they would remove ours.
                    time.sleep(1.0)
            time.sleep(0.05)


def _look(path: Path) -> _Seen:
    # Opened anew each time: only then do network file systems ask their server.
    with path.open("rb") as file:
        return _read(file.fileno())


def _read(descriptor: int) -> _Seen:
    touched = os.fstat(descriptor).st_mtime_ns
    return _Seen(os.pread(descriptor, RECORD_BYTES, 0).strip(), touched)


def _write(descriptor: int, record: str) -> None:
    os.pwrite(descriptor, record.ljust(RECORD_BYTES - 1).encode() + b"\n", 0)
    os.ftruncate(descriptor, RECORD_BYTES)
    # To the server before the run counts as held: NFS clients may keep writes for seconds, and a
    # kill must not leave an empty record (docs/decisions.md#not-filelock).
    os.fsync(descriptor)


def _kernel() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
