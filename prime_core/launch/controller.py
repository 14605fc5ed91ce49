"""The workflow's own small job: Snakemake in it submits the stages, and resumes after a requeue.

In: Snakemake's command. Out: its exit status. Slurm signals the job before its time limit (USR2),
and when it is cancelled or pre-empted (TERM). Only Snakemake is then killed: its Slurm jobs keep
running, and after a requeue the same command waits for them (docs/decisions.md#controller-signals).
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from submitit.helpers import Checkpointable

from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.commands import SlurmError
from prime_core.launch.slurm.interruptions import is_being_preempted
from prime_core.run.job_records import Way
from prime_core.run.layout import RunFiles
from prime_core.runtime.console import note

_SECONDS_BETWEEN_LOOKS = 0.5
# Slurm kills a cancelled or pre-empted job soon after TERM. One that is alive after this long was
# spared, and requeues itself.
_SECONDS_UNTIL_KILLED = 900.0
# How long Slurm may take to end this process after `scontrol requeue`.
_SECONDS_UNTIL_ENDED = 20.0
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Controller(Checkpointable):
    """What submitit calls each time the job starts.

    command: Snakemake's; folder: where it was typed, and runs; run_dir: the run's folder, relative
    to that; log_folder: where submitit writes the job's log.
    """

    # Checkpointable: until __call__ installs its handlers, USR2 goes to submitit's, which requeues
    # nothing else at the time limit.
    way: Way = "slurm"

    def __init__(
        self, command: Sequence[str], folder: Path, run_dir: Path, log_folder: Path
    ) -> None:
        self.command, self.folder, self.run_dir = list(command), folder, run_dir
        self.log_folder = log_folder
        # Pickled at submission: every start of the job begins with this empty set.
        self.signals: set[int] = set()

    @property
    def files(self) -> RunFiles:
        """The run's files, whatever folder this process runs in."""
        return RunFiles(self.folder / self.run_dir)

    @property
    def job_id(self) -> str:
        """Id of this job, the same after each requeue."""
        return os.environ["SLURM_JOB_ID"]

    def __call__(self) -> int:
        """Run Snakemake to completion; on a signal stop it and requeue this job."""
        # Replaces submitit's handler, which would stop Snakemake from within the signal, where
        # Popen's own lock may be held.
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._note)
        process = self.start()
        self.record(process)
        # Polled: wait() would resume after a signal's handler, and return when Snakemake ends.
        while process.poll() is None and not self.must_stop():
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        if process.poll() is None:
            self.stop(process)
        elif process.returncode == 0 or not self.signals:  # else the same signal ended it
            return self.finish(process.returncode)
        return self.go_on_later()

    def start(self) -> subprocess.Popen[bytes]:
        """Start Snakemake, deaf to USR2: Slurm signals every process of a job, this one decides."""
        command = [*self.command, *self.options()]
        log(f"job {self.job_id} on {socket.gethostname()} starts: {' '.join(command)}")
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_leave_signals_to_parent,
        )

    def options(self) -> list[str]:
        """Arguments that this launch adds to the command."""
        return []

    def environment(self) -> dict[str, str]:
        """Without Slurm's and submitit's variables; the job's id stays, for the run's lock."""
        own = {"PRIME_WAY": self.way, "SLURM_JOB_ID": self.job_id}
        return slurm.clean_environment() | own

    def record(self, process: subprocess.Popen[bytes]) -> None:
        """Record this launch. Nothing to do here: the executor for Slurm records its own."""

    def must_stop(self) -> bool:
        """Whether to stop Snakemake now, and resume later."""
        if self.signals:
            log(f"asked to stop ({', '.join(signal.Signals(n).name for n in self.signals)})")
        return bool(self.signals)

    @property
    def is_being_ended(self) -> bool:
        """Cancelled or pre-empted: Slurm ends the job itself, and may requeue a pre-empted one."""
        return self.signals == {signal.SIGTERM}

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Kill Snakemake; its Slurm jobs keep running."""
        process.kill()  # on SIGTERM it would wait for its jobs, on SIGINT cancel them
        process.wait()

    def go_on_later(self) -> NoReturn:
        """Requeue this job; does not return."""
        # In its grace time it can still requeue itself, where Slurm would cancel it (PreemptMode).
        if not (self.is_being_ended and is_being_preempted(self.job_id)):
            self._wait_while(lambda: self.is_being_ended, _SECONDS_UNTIL_KILLED)
        # Any signal from here on means that the requeue has worked: Slurm is ending this process.
        self.signals.clear()
        while True:
            try:
                slurm.requeue(self.job_id)
                break
            except SlurmError as error:  # slurmctld may be down: retry while there is time
                log(str(error))
                time.sleep(5)
        log("requeued; resumes from here")
        self._wait_while(lambda: not self.signals, _SECONDS_UNTIL_ENDED)
        raise SystemExit(0)

    def finish(self, status: int) -> int:
        """End this job with Snakemake's exit status."""
        log(f"the workflow ended with status {status}")
        if status:
            # Raised: to submitit a returned status is a success, and the job would be COMPLETED.
            # Snakemake killed by signal n gives 128 + n, as in a shell.
            raise SystemExit(status if status > 0 else 128 - status)
        return status

    def _note(self, number: int, _frame: FrameType | None) -> None:
        # No more than this: the main loop may hold Popen's lock.
        self.signals.add(number)

    def _wait_while(self, condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while condition() and time.monotonic() < end:
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def log(sentence: str) -> None:
    """Write a timestamped line to the job's log."""
    note(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] prime launch: {sentence}")


def _leave_signals_to_parent() -> None:
    """Ignore USR2, which would end Snakemake abruptly, and die with a parent that is killed."""
    # Ignored, not handled: exec resets handlers only. Stages inherit it and handle USR2 again
    # (prime_core.runtime.interruption).
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
