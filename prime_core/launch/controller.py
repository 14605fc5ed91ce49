"""The workflow's own small job: Snakemake in it submits the stages, and goes on after a requeue.

In: Snakemake's command. Out: its exit status. Slurm tells the job before its time ends (USR2), and
when it is cancelled or pre-empted (TERM); then Snakemake alone is ended, whose Slurm jobs go on,
and after a requeue the same command takes them up again.
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
from prime_core.run.job_records import Way
from prime_core.run.layout import RunFiles
from prime_core.runtime.console import note

_SECONDS_BETWEEN_LOOKS = 0.5
# A cancelled job is killed soon after TERM; one that is not was to be pre-empted and was not.
_SECONDS_UNTIL_KILLED = 900.0
# After a requeue Slurm ends this start of the job.
_SECONDS_UNTIL_ENDED = 20.0
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Controller(Checkpointable):
    """A call that submitit makes in each start of the job.

    command: Snakemake's; folder: where it was typed, and is run; run_dir: the run's folder seen
    from there.
    """

    way: Way = "slurm"

    def __init__(
        self, command: Sequence[str], folder: Path, run_dir: Path, log_folder: Path
    ) -> None:
        self.command, self.folder, self.run_dir = list(command), folder, run_dir
        self.log_folder = log_folder
        self.signals: set[int] = set()

    @property
    def files(self) -> RunFiles:
        """The run's files."""
        return RunFiles(self.folder / self.run_dir)

    @property
    def job_id(self) -> str:
        """Number of the job that this is."""
        return os.environ["SLURM_JOB_ID"]

    def __call__(self) -> int:
        """Run Snakemake to its end; on a signal stop it, and go back into the queue."""
        # In place of submitit's: it would stop Snakemake from within the signal, where Popen's own
        # lock may be held.
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._note)
        process = self.start()
        self.record(process)
        while process.poll() is None and not self.must_stop():
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        if process.poll() is None:
            self.stop(process)
        elif process.returncode == 0 or not self.signals:  # else it ended by the same signal
            return self.finish(process.returncode)
        return self.go_on_later()

    def start(self) -> subprocess.Popen[bytes]:
        """Snakemake; Slurm signals all processes of a job, of which this one alone decides."""
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
        """What is added to the command in this start."""
        return []

    def environment(self) -> dict[str, str]:
        """Without what Slurm and submitit set for this job; its number tells who holds the run."""
        own = {"PRIME_WAY": self.way, "SLURM_JOB_ID": self.job_id}
        return slurm.clean_environment() | own

    def record(self, process: subprocess.Popen[bytes]) -> None:
        """Write this start down: the executor for Slurm does it itself."""

    def must_stop(self) -> bool:
        """Whether Snakemake is to be stopped, and this job to go on later."""
        if self.signals:
            log(f"told to stop ({', '.join(signal.Signals(n).name for n in self.signals)})")
        return bool(self.signals)

    @property
    def is_being_ended(self) -> bool:
        """Cancelled, or pre-empted: either ends this process, and Slurm requeues one pre-empted."""
        return self.signals == {signal.SIGTERM}

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End Snakemake; its Slurm jobs go on."""
        process.kill()
        process.wait()

    def go_on_later(self) -> NoReturn:
        """Put this job back into the queue; does not return."""
        self._wait_while(lambda: self.is_being_ended, _SECONDS_UNTIL_KILLED)
        self.signals.clear()
        while True:
            try:
                slurm.requeue(self.job_id)
                break
            except SlurmError as error:  # slurmctld may be down: as long as there is time
                log(str(error))
                time.sleep(5)
        log("back in the queue; goes on from here")
        self._wait_while(lambda: not self.signals, _SECONDS_UNTIL_ENDED)
        raise SystemExit(0)

    def finish(self, status: int) -> int:
        """The end of this job, with Snakemake's exit status."""
        log(f"the workflow ended with status {status}")
        if status:
            raise SystemExit(status if status > 0 else 128 - status)
        return status

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signals.add(number)

    def _wait_while(self, condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while condition() and time.monotonic() < end:
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def log(sentence: str) -> None:
    """A line in the job's log, with the time."""
    note(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] prime launch: {sentence}")


def _leave_signals_to_parent() -> None:
    """Snakemake would end on USR2, without order; nor may it outlive a parent that was killed."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
