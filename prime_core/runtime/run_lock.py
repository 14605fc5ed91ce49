"""Who is at work on a run: one holder at a time, also where hosts do not see each other's locks.

In: a lock file on the run's own file system. Out: it is held by this process, or RunBusy.

`flock` is freed by the system however a process ends; between processes of one machine it decides
alone. Some network file systems keep it to each machine, or do not have it. So the holder also
touches the file every few seconds, and a newcomer on another machine watches whether it is still
touched. The file is compared with itself only: clocks need not agree.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

SECONDS_BETWEEN_TOUCHES = 10.0
# Silent for so many intervals: dead.
PATIENCE = 3
# A record is always this long, so that one write replaces it as a whole.
RECORD_BYTES = 1024
# Who only looks whether a run is held (`prime status`) has the lock for a moment.
LOCK_SECONDS = 0.5
# A claim guards a few milliseconds; one that is older was left behind by a kill.
CLAIM_SECONDS = 5.0
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}


class RunBusy(ValueError):
    """Another workflow is at work on the same run."""


@dataclass(frozen=True)
class Holder:
    """A process that holds a run.

    machine: the same for processes that see each other's flock; slurm_job: "" outside of Slurm;
    since: seconds since 1970.
    """

    host: str
    machine: str
    pid: int
    slurm_job: str
    since: float
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __str__(self) -> str:
        job = f", Slurm job {self.slurm_job}" if self.slurm_job else ""
        return f"process {self.pid} on {self.host}{job}, since {_clock(self.since)}"


@dataclass(frozen=True)
class _Seen:
    """The lock file at one moment."""

    record: bytes
    touched: int

    @property
    def holder(self) -> Holder | None:
        try:
            return Holder(**json.loads(self.record))
        except (ValueError, TypeError):  # blank: given back; anything else: not ours to read
            return None


class Lease:
    """The right to work on one run.

    run: the run's folder, as messages name it; interval: seconds between touches; machine, flock:
    which processes see each other's locks, and how they lock; for tests.
    """

    def __init__(
        self,
        path: Path,
        run: Path,
        interval: float = SECONDS_BETWEEN_TOUCHES,
        machine: str = "",
        flock: Callable[[int], None] | None = None,
        on_loss: Callable[[str], None] | None = None,
    ) -> None:
        self._path, self._run, self._interval = path.absolute(), run, interval
        self._flock = flock or _flock
        self._on_loss = on_loss or _stop_in_good_order
        # Read now: Snakemake's executors take what Slurm set out of the environment.
        self._me = Holder(
            host=socket.gethostname(),
            machine=machine or _machine(),
            pid=os.getpid(),
            slurm_job=os.environ.get("SLURM_JOB_ID", ""),
            since=time.time(),
        )
        self._give_back: weakref.finalize | None = None

    def take(self) -> None:
        """Hold the run until release() or the end of the process.

        Raises RunBusy naming who holds it. Takes seconds when the last holder was another machine
        and did not give the run back.
        """
        if self._give_back is not None and self._give_back.alive:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            locked = self._lock(descriptor)
            while not self._claim(descriptor, self._free(locked)):
                pass
        except BaseException:
            os.close(descriptor)
            raise
        hold = _Hold(self._path, descriptor, self._me, self._run, self._interval, self._on_loss)
        threading.Thread(target=hold.keep, name="lease", daemon=True).start()
        self._give_back = weakref.finalize(self, hold.give_back)

    def release(self) -> None:
        """Give the run back: the next holder need not wait."""
        if self._give_back is not None:
            self._give_back()

    def _lock(self, descriptor: int) -> bool:
        """Whether this process now has the machine's lock; False where there are no locks."""
        end = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                self._flock(descriptor)
                return True
            except BlockingIOError:
                if time.monotonic() > end:
                    raise self._busy(_look(self._path)) from None
                time.sleep(0.05)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                return False

    def _free(self, locked: bool) -> _Seen:
        """The lock file once nobody holds it. Raises RunBusy when somebody does."""
        while True:
            seen = _look(self._path)
            holder = seen.holder
            if holder is None or (locked and holder.machine == self._me.machine):
                return seen
            now = self._watch(seen)
            if now == seen:
                return seen
            if now.holder is not None:
                raise self._busy(now)

    def _watch(self, seen: _Seen) -> _Seen:
        """The file when it changes, else as it was, after PATIENCE intervals."""
        seconds = PATIENCE * self._interval
        _say(f"{self._run} was held by {seen.holder}; watching {seconds:.0f} s for a sign of life")
        end = time.monotonic() + seconds
        while (now := _look(self._path)) == seen and time.monotonic() < end:
            time.sleep(min(1.0, self._interval / 5))
        return now

    def _claim(self, descriptor: int, seen: _Seen) -> bool:
        """Write this process down, unless the file has changed since it was seen.

        Of several newcomers only one can create the claim (O_EXCL holds across machines).
        """
        claim = self._path.with_name(f"{self._path.name}.claim")
        end = time.monotonic() + CLAIM_SECONDS
        while True:
            try:
                os.close(os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
                break
            except FileExistsError:
                if time.monotonic() > end:
                    claim.unlink(missing_ok=True)
                time.sleep(0.05)
        try:
            if _look(self._path) != seen:
                return False
            _write(descriptor, json.dumps(asdict(self._me)))
            return True
        finally:
            claim.unlink(missing_ok=True)

    def _busy(self, seen: _Seen) -> RunBusy:
        who = str(seen.holder or "which has just begun")
        return RunBusy(
            f"another workflow is at work on {self._run} ({who}; "
            f"last sign of life {_clock(seen.touched / 1e9)})"
        )


class _Hold:
    """What the thread that touches the file needs; it does not keep the lease itself alive."""

    def __init__(
        self,
        path: Path,
        descriptor: int,
        me: Holder,
        run: Path,
        interval: float,
        on_loss: Callable[[str], None],
    ) -> None:
        self.path, self.descriptor, self.me, self.run = path, descriptor, me, run
        self.interval, self.on_loss = interval, on_loss
        self.stopped = threading.Event()

    def keep(self) -> None:
        while not self.stopped.wait(self.interval):
            # A file system that hangs or is gone is no reason to stop.
            with contextlib.suppress(OSError):
                seen = _look(self.path)
                if self.stopped.is_set():
                    return
                if seen.holder != self.me:
                    # Taken over: this process slept (a closed laptop, a stopped process).
                    self.on_loss(
                        f"{self.run} was taken over by {seen.holder or 'nobody'} while this "
                        "workflow gave no sign of life; it ends once its running stages have ended"
                    )
                    return
                os.utime(self.path)

    def give_back(self) -> None:
        if os.getpid() != self.me.pid:  # a fork's end is not the holder's
            return
        self.stopped.set()
        with contextlib.suppress(OSError):
            if _look(self.path).holder == self.me:
                _write(self.descriptor, "")
        os.close(self.descriptor)


def _look(path: Path) -> _Seen:
    # Opened anew each time: only then do network file systems ask their server.
    with path.open("rb") as file:
        touched = os.fstat(file.fileno()).st_mtime_ns
        return _Seen(file.read().strip(), touched)


def _write(descriptor: int, record: str) -> None:
    os.pwrite(descriptor, record.ljust(RECORD_BYTES - 1).encode() + b"\n", 0)
    os.ftruncate(descriptor, RECORD_BYTES)
    os.fsync(descriptor)


def _flock(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _machine() -> str:
    """The running kernel; containers on it see each other's locks, whatever their names."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _stop_in_good_order(sentence: str) -> None:
    _say(sentence)
    os.kill(os.getpid(), signal.SIGTERM)  # Snakemake: no new stages; ends after the running ones


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
