"""The whole run inside one allocation: Snakemake's local executor, under a deadline.

In: Snakemake's command, the allocation's size, the run's budget. Out: its exit status. From
PRIME_DEADLINE stages know when it is too late to begin (prime_core.run.deadline). When Slurm
signals that the job's time is ending, long stages are asked to stop at a checkpoint, others may
finish, and the job is requeued; likewise when stages were deferred for lack of time. A failed stage
ends the job (docs/decisions.md#allocation-local).
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from prime_core.launch.accounting.budget import spent_gpu_hours
from prime_core.launch.controller import Controller, log
from prime_core.launch.site.allocation import Allocation
from prime_core.launch.site.resource_names import GPUS_ASKED
from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.commands import SlurmError
from prime_core.launch.slurm.workflow_job import log_of
from prime_core.launch.status.stage_processes import kill_all, running_stages
from prime_core.run.deadline import BEGINNING, DEADLINE
from prime_core.run.job_records import (
    ControllerStart,
    StageStop,
    Way,
    record_controller,
    record_stop,
    stage_stops,
)
from prime_core.run.training_states import save_all
from prime_core.runtime.errors import sentence
from prime_core.runtime.text import duration
from prime_core.settings.reading import load_settings
from prime_core.storage import node_cache, state_memory

_SECONDS_BETWEEN_LOOKS = 0.5
# Kept free before the time limit, for `scontrol requeue`.
_SECONDS_FOR_REQUEUE = 20.0
# Slurm's variables as an salloc session has them: what srun needs to start ranks on the nodes.
_OF_THE_JOB = ("SLURM_JOB", "SLURM_NNODES", "SLURM_NODELIST", "SLURM_CLUSTER", "SLURM_SUBMIT")


class Supervisor(Controller):
    """What submitit calls each time the allocation starts."""

    way: Way = "allocation"

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        run_dir: Path,
        log_folder: Path,
        allocation: Allocation,
        fast_storage: Path,
        max_gpu_hours: float | None,
    ) -> None:
        super().__init__(command, folder, run_dir, log_folder)
        self.allocation, self.fast_storage = allocation, fast_storage
        self.max_gpu_hours = max_gpu_hours
        # Set by __call__: the object is pickled once, and the job may start many times.
        self.began = self.ends = self.budget_ends = 0.0

    @property
    def deadline(self) -> float:
        """When all stages must have ended, seconds since 1970."""
        return min(self.ends - self._reserve, self.budget_ends)

    @property
    def _reserve(self) -> float:
        return 60 * self.allocation.reserve_minutes

    def __call__(self) -> int:
        """As the controller; copies of weights are removed with the allocation."""
        self.began, self.ends = time.time(), self._end()
        self.budget_ends = self._budget_end()
        # Earlier starts of this job, or other launches, may have used the budget up.
        if self.budget_ends <= self.began:
            self._end_with_budget()
        # /dev/shm survives a killed job, and nobody else would free its memory.
        self._remove_stale_copies()
        try:
            return super().__call__()
        finally:
            self._free_storage()

    def options(self) -> list[str]:
        """Cores and GPUs of the first node; what does not depend on a deferred stage still runs.

        Single-node stages run on the first node; a multi-node stage takes all of it and the others.
        """
        numbers = ["--cores", str(self.allocation.cpus_per_task), "--keep-going"]
        if self.allocation.gpus_per_node:
            numbers += ["--resources", f"{GPUS_ASKED}={self.allocation.gpus_per_node}"]
        return numbers

    def environment(self) -> dict[str, str]:
        """With the deadline, the folder for copies and, for ranks on several nodes, Slurm's job."""
        log(f"stages begin only if they should end within {duration(self.deadline - self.began)}")
        own = {
            DEADLINE: f"{self.deadline:.0f}",
            # On a node without internet, stages would wait for a missing model instead of failing.
            "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1"),
            # The size of the verifier's pool: without cgroups a stage sees all cores of the node.
            "SLURM_CPUS_PER_TASK": str(self.allocation.cpus_per_task),
        }
        # Lets a stage say that it needs a larger allocation, which is no help against the budget.
        if self.deadline < self.budget_ends:
            own[BEGINNING] = f"{self.began:.0f}"
        if self.allocation.nodes > 1:
            own |= {key: value for key, value in os.environ.items() if key.startswith(_OF_THE_JOB)}
        elif self.allocation.fast_storage_gb:
            own[node_cache.STORAGE] = str(self._storage())
            own[node_cache.LIMIT_GB] = str(self.allocation.fast_storage_gb)
        return super().environment() | own

    def record(self, process: subprocess.Popen[bytes]) -> None:
        """Record this launch and the GPUs that it holds."""
        start = ControllerStart(
            way=self.way,
            host=socket.gethostname(),
            pid=process.pid,
            slurm_job=self.job_id,
            gpus=self.allocation.gpus,
            started=self.began,
            log=str(log_of(self.log_folder, self.job_id)),
        )
        record_controller(self.files, start)

    def must_stop(self) -> bool:
        """Also at the deadline, should Slurm's signal not come, and when the budget is used up."""
        if time.time() >= self.deadline:
            log("the time for stages is up")
            return True
        return super().must_stop()

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Start nothing more; long stages save a checkpoint, others may finish in the time left."""
        process.terminate()  # Snakemake then waits for running stages and starts no others
        asked: set[int] = set()
        # Signalled early (pre-emption), the job has about as long as before its time limit.
        end = min(self.ends - _SECONDS_FOR_REQUEUE, time.time() + self._reserve)
        while process.poll() is None and time.time() < end:
            for running in running_stages(process.pid):
                # At each turn: `prime gpus` may have got its devices meanwhile and become a stage.
                if running.pid not in asked and running.can_stop:
                    asked.add(running.pid)
                    log(f"asking {running.stage} to stop at a checkpoint")
                    running.ask_to_stop()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        for running in running_stages(process.pid):
            stage, seconds = running.stage, running.seconds
            log(f"{stage} cut off after {duration(seconds)}")
            if not running.can_stop:  # the next allocation then expects it to take at least as long
                cut = StageStop(stage.name, stage.iteration, stage.part, seconds, time.time())
                record_stop(self.files, cut)
        kill_all(process.pid)
        process.wait()

    def finish(self, status: int) -> int:
        """Requeue when stages were deferred for lack of time, else end with Snakemake's status."""
        left = [stop for stop in stage_stops(self.files) if stop.at >= self.began]
        # Whatever the status: a stage that failed as well fails again in the next launch, where
        # nothing is deferred, and ends the job then.
        if status and left:
            names = sorted({str(stop.work) for stop in left})
            log(f"deferred to the next allocation: {', '.join(names)}")
            self.go_on_later()
        return super().finish(status)

    def go_on_later(self) -> NoReturn:
        """As the controller, unless the budget is used up."""
        self._free_storage()
        # Floats, yet equal exactly: `deadline` is the smaller of two. A pre-empted job is requeued
        # by Slurm anyway, and looks at the budget when it starts.
        if not self.is_being_ended and self.deadline == self.budget_ends:
            self._end_with_budget()
        super().go_on_later()

    def _end(self) -> float:
        """When Slurm will end this job, seconds since 1970."""
        try:
            (job,) = slurm.jobs_numbered([self.job_id])
            if job.left >= 0:
                return time.time() + job.left
        except (SlurmError, ValueError) as error:
            log(f"taking the job's end from its settings: {error}")
        return time.time() + 60 * self.allocation.minutes

    def _budget_end(self) -> float:
        """When this allocation will have used up max_gpu_hours; infinity without a limit."""
        if self.max_gpu_hours is None or not self.allocation.gpus:
            return float("inf")
        # An allocation is charged for all its GPUs, whether stages use them or not.
        left = self.max_gpu_hours - spent_gpu_hours(self.files)
        return time.time() + 3600 * left / self.allocation.gpus

    def _end_with_budget(self) -> NoReturn:
        """End this job for good: the budget leaves too little to continue."""
        log(
            f"max_gpu_hours {self.max_gpu_hours:g}: {spent_gpu_hours(self.files):.3g} GPU-hours "
            "used, too little is left to continue; raise it and launch again"
        )
        raise SystemExit(1)

    def _storage(self) -> Path:
        return self.fast_storage / f"prime-{os.getuid()}-{self.job_id}"

    def _free_storage(self) -> None:
        """Remove all copies; states that are nowhere else go to disk first, or cost an update."""
        storage = self._storage()
        with state_memory.kept_in(state_memory.place_in(storage)):
            try:
                if storage.is_dir() and self.files.config.exists():
                    save_all(load_settings(self.files.config), self.files)
            except (OSError, ValueError) as error:
                log(f"training states in memory are lost: {sentence(error)}")
        node_cache.remove(storage)

    def _remove_stale_copies(self) -> None:
        """Remove copies that this user's jobs left when they were killed on this node."""
        for storage in self.fast_storage.glob(f"prime-{os.getuid()}-*"):
            job_id = storage.name.rpartition("-")[2]
            try:
                jobs = slurm.jobs_numbered([job_id])
            except SlurmError:
                continue
            # Also true of an empty list: Slurm has forgotten the job, so it ended long ago.
            if all(job.ended for job in jobs):
                node_cache.remove(storage)
