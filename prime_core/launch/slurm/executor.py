"""Snakemake's executor for Slurm, made patient: what `--executor slurm` means for a run.

In: the run's files, the site's limits, and a callback that may refuse more jobs. Out: `adapt` puts
an adapted executor in the place of snakemake-executor-plugin-slurm's. Adapted are: how often Slurm
is polled, what happens while it does not answer, the jobs' name, and what is recorded of each.
Turning a job into an sbatch command stays the plugin's. Why: docs/decisions.md#asking-slurm.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_slurm import Executor
from snakemake_executor_plugin_slurm.utils import get_job_wildcards
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from prime_core.launch.site.site import Site
from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm import placement, plugin_checks, submission
from prime_core.launch.slurm.held_jobs import HeldJobs
from prime_core.launch.slurm.output_watch import OutputWatch
from prime_core.launch.slurm.verdicts import Verdicts
from prime_core.run.job_records import ControllerStart, record_controller, record_job, slurm_name
from prime_core.run.layout import RunFiles
from prime_core.runtime.text import duration

# The plugin's own interval grows to three minutes (docs/decisions.md#asking-slurm).
SECONDS_BETWEEN_QUESTIONS = 10.0
# A job that has written its outputs ends within moments.
SECONDS_BETWEEN_EARLY_QUESTIONS = 2.0
SECONDS_BETWEEN_LOOKS = 0.5
# Variables that describe a job to itself. SBATCH_ACCOUNT and the like are the user's, and stay.
OWN_JOBS = ("SLURM_", "SRUN_", "SUBMITIT_")
Refuse = Callable[[], str | None]


def adapt(files: RunFiles, site: Site, refuse: Refuse = lambda: None) -> None:
    """Make `--executor slurm` mean PatientExecutor, for this process; may be called again.

    refuse: called before jobs are submitted, and must answer within seconds; a sentence stops the
    workflow in good order. The plugin is checked when the executor starts: WorkflowError names a
    version that does not fit.
    """
    plugin = ExecutorPluginRegistry().get_plugin("slurm")
    run = _Run(files, site, refuse)
    plugin.executor = type("RunExecutor", (PatientExecutor,), {"run": run})  # a class is expected


@dataclass(frozen=True)
class _Run:
    """The run that an executor class is bound to."""

    files: RunFiles
    site: Site
    refuse: Refuse


class PatientExecutor(Executor):
    """The plugin's executor, adapted. One thread submits, one polls, the main one schedules."""

    run: _Run

    def __init__(self, workflow: Any, logger: Any) -> None:
        plugin_checks.check(Executor)
        plugin_checks.check_paths(Path.cwd(), workflow.main_snakefile, *workflow.configfiles)
        self._files, self._site, self._refuse = self.run.files, self.run.site, self.run.refuse
        self._refusal: str | None = None
        self._own_job = os.environ.get("SLURM_JOB_ID", "")
        # Before the plugin's constructor, which would drop SLURM_CONF with the other variables.
        self._leave_own_job()
        self._recorded_start = False
        self._verdicts = Verdicts()
        self._watches: dict[Any, OutputWatch] = {}
        self._being_asked: list[SubmittedJobInfo] = []
        self._silent_since: float | None = None
        self._held = HeldJobs()
        self._closing = threading.Event()
        # The plugin submits in two threads; each retries its own job.
        self._submission = threading.local()
        # Last, since it starts the polling thread, which uses all of the above.
        super().__init__(workflow, logger)

    def __post_init__(self, test_mode: bool = False) -> None:
        """Give all jobs of a run one name, whichever launch of the workflow submits them."""
        super().__post_init__(test_mode)
        # Jobs inherit it: on a node without internet they would wait for a missing model.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        # The plugin would take a new name at each launch (docs/decisions.md#job-name).
        self.run_uuid = slurm_name(self._files.root)
        self.logger.info(f"Slurm jobs of this run: squeue --name {self.run_uuid}")

    # Submission: requested in the main thread, carried out in the plugin's.

    def run_jobs(self, jobs: Sequence[Any]) -> None:
        """Submit ready jobs, unless `refuse` objects."""
        # Not in the constructor, which runs before onstart: until then the run may be another's.
        self._record_start()
        if self._is_refused():
            self._stop_in_good_order(jobs)
        else:
            super().run_jobs(list(jobs))

    def run_job(self, job: Any) -> None:
        """Submit one job, retrying while Slurm does not answer (docs/decisions.md#slurm-away)."""
        placement.place(job, self._site)
        self._watches[job] = OutputWatch(Path(str(output)) for output in job.output)
        find = partial(submission.accepted, self._files, self.run_uuid, _comment(job))
        patience = submission.Patience(self._closing, self.logger)
        accepted: str | None = ""
        while not accepted:
            self._submission.failure = ""
            super().run_job(job)
            failure, self._submission.failure = self._submission.failure, None
            if not failure:
                return
            accepted = patience.wait(failure, find)
            if accepted is None:
                super()._report_job_error_threadsafe(SubmittedJobInfo(job), failure)
                return
        # sbatch failed, yet Slurm has accepted the job.
        # Where the plugin had told sbatch to write, with the id in place of %j.
        log = self.slurm_logdir / f"rule_{job.name}" / get_job_wildcards(job) / f"{accepted}.log"
        info = SubmittedJobInfo(job, accepted, {"slurm_logfile": log})
        self._report_job_submission_threadsafe(info)

    def _report_job_error_threadsafe(self, job_info: SubmittedJobInfo, msg: str) -> None:
        # The plugin reports a failed sbatch here and returns. Within run_job that must not reach
        # Snakemake, which would count an attempt of the job as failed.
        if getattr(self._submission, "failure", None) is None:
            super()._report_job_error_threadsafe(job_info, msg)
        else:
            self._submission.failure = msg

    def _report_job_submission_threadsafe(self, job_info: SubmittedJobInfo) -> None:
        super()._report_job_submission_threadsafe(job_info)
        record = submission.job_record(job_info.job, job_info.external_jobid)
        self.logger.info(f"{record.work}: Slurm job {record.job_id}")
        try:
            record_job(self._files, record)
        except OSError as error:  # a full disk; the job runs all the same
            self.logger.warning(f"{self._files.submitted_jobs}: {error}")

    def get_account_arg(self, job: Any) -> Iterator[str]:
        """The account as given; sbatch itself checks it, and knows the default."""
        # The plugin would ask sacctmgr before every job, and fail with it; likewise sinfo below.
        account = job.resources.get("slurm_account")
        yield f" -A {shlex.quote(str(account))}" if account else ""

    def get_partition_arg(self, job: Any) -> str:
        """The partition as given (sbatch knows the default), and what else its pool asks for."""
        return placement.partition_options(job, self._site)

    def _is_refused(self) -> bool:
        if self._refusal is None:
            with contextlib.suppress(slurm.SlurmError):  # no figures, no refusal
                self._refusal = self._refuse()
            if self._refusal is not None:
                self.logger.error(self._refusal)
        return self._refusal is not None

    def _stop_in_good_order(self, jobs: Sequence[Any]) -> None:
        """Let running jobs finish, start no more; Snakemake then ends with an error."""
        scheduler = self.workflow.scheduler
        with scheduler._lock:
            # Not reported as failed: Snakemake would delete their outputs and retry them.
            # Still listed as running, they would be waited for forever.
            scheduler.running.difference_update(jobs)
        scheduler.exit_gracefully()

    # Waiting: in the thread that polls Slurm.

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncIterator[SubmittedJobInfo]:
        """Poll Slurm once for all jobs of the run; yields those still to be waited for."""
        if not active_jobs:
            return
        self._being_asked = active_jobs
        try:
            found = await asyncio.to_thread(slurm.jobs_named, self.run_uuid)
        except slurm.SlurmError as error:
            self._say_silent(error)
            found = None
        else:
            self._say_answers()
        states = {job.job_id: job for job in found or ()}
        for info in active_jobs:
            # No answer is no news (docs/decisions.md#slurm-away).
            if found is None or not self._settle(info, states.get(info.external_jobid)):
                yield info
        self._being_asked = []

    async def sleep(self) -> None:
        """Wait for the next poll: ten seconds, or until a job has written its outputs."""
        begin = time.monotonic()
        # In short naps: shutdown() clears `wait` and then joins this thread.
        while self.wait and time.monotonic() - begin < SECONDS_BETWEEN_QUESTIONS:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            waited = time.monotonic() - begin
            if waited >= SECONDS_BETWEEN_EARLY_QUESTIONS and self._some_job_seems_to_end():
                return

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel all jobs, also those of a poll under way, which `active_jobs` lacks meanwhile."""
        super().cancel_jobs(
            # By identity: SubmittedJobInfo is a mutable dataclass, which has no hash.
            list({id(job): job for job in (*active_jobs, *self._being_asked)}.values())
        )

    def shutdown(self) -> None:
        """End both threads, abandoning submissions that wait for Slurm."""
        # First: the plugin joins its submitting threads, which may be retrying for ten minutes.
        self._closing.set()
        super().shutdown()

    def _settle(self, info: SubmittedJobInfo, job: slurm.QueuedJob | None) -> bool:
        """Report a job if it has ended; False: keep waiting for it."""
        watch = self._watches[info.job]
        verdict = self._verdicts.judge(
            info.external_jobid, job.state if job else None, watch.has_written
        )
        log = info.aux["slurm_logfile"]
        if verdict.kind == "wait":
            said = self._held.look(job) if job else None
            if said:
                self.logger.warning(said)
            return False
        del self._watches[info.job]
        if verdict.kind == "failed":
            # Snakemake's own message about a failed job is silenced by `quiet: [rules]`.
            self.logger.error(submission.failure(info.job, verdict.why, log))
            self.report_job_error(info, msg=f"{verdict.why} ", aux_logs=[str(log)])
        else:
            line = submission.last_line(info.job)
            if line:
                self.logger.info(line)
            if not self.workflow.executor_settings.keep_successful_logs:
                log.unlink(missing_ok=True)
            self.report_job_success(info)
        return True

    def _some_job_seems_to_end(self) -> bool:
        with self.lock:
            active = [self._watches.get(info.job) for info in self.active_jobs]
        # Outside the lock, which submissions need: a shared disk may be slow to answer. And all of
        # them, where any() would stop at the first: the poll that follows is a look at each.
        asking = [watch for watch in active if watch and watch.asks_for_a_look()]
        return bool(asking)

    # Messages and records.

    def _say_silent(self, error: slurm.SlurmError) -> None:
        if self._silent_since is None:
            self._silent_since = time.monotonic()
            self.logger.warning(f"Slurm does not answer; still waiting for its jobs. {error}")

    def _say_answers(self) -> None:
        if self._silent_since is not None:
            silence = duration(time.monotonic() - self._silent_since)
            self.logger.warning(f"Slurm answers again, after {silence}.")
            self._silent_since = None

    def _record_start(self) -> None:
        if self._recorded_start:
            return
        self._recorded_start = True
        logs = self.workflow.logger_manager.get_logfile()
        start = ControllerStart(
            way="slurm",
            host=socket.gethostname(),
            pid=os.getpid(),
            slurm_job=self._own_job,
            gpus=0,
            started=time.time(),
            log=str(logs[0]) if logs else "",
        )
        try:
            record_controller(self._files, start)
            # Its presence says that jobs may be left behind, even if a full disk keeps it empty.
            self._files.submitted_jobs.touch()
        except OSError as error:
            self.logger.warning(f"{self._files.controllers}: {error}")

    def _leave_own_job(self) -> None:
        """Drop the variables of the workflow's own Slurm job: its jobs must not inherit them."""
        if self._own_job:
            for name in list(os.environ):
                if name.startswith(OWN_JOBS) and name != "SLURM_CONF":
                    del os.environ[name]


def _comment(job: Any) -> str:
    """The comment that the plugin submits a job with, unique to it."""
    wildcards = get_job_wildcards(job)
    # Spelled as in the plugin's run_job: a job that sbatch did not admit to is found by it.
    return f"rule_{job.name}_wildcards_{wildcards}" if wildcards else f"rule_{job.name}"
