"""Snakemake's executor for Slurm, made patient: what `--executor slurm` means for a run.

In: the run's files, the site's limits, and a callback that may refuse more jobs. Out: `adapt` puts
an adapted executor in the place of snakemake-executor-plugin-slurm's. Adapted are: how often Slurm
is polled, what happens while it does not answer, what is said of pending and failed jobs, what
becomes of interrupted ones, and submission (submitter.py). Why: docs/decisions.md#asking-slurm.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from prime_core.launch.site.site import Site
from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm import interruptions, submission
from prime_core.launch.slurm.pending_jobs import PendingJobs
from prime_core.launch.slurm.submitter import ExecutedRun, Refuse, SubmittingExecutor
from prime_core.launch.slurm.verdicts import Verdicts
from prime_core.run.layout import RunFiles
from prime_core.runtime.text import duration

# The plugin's own interval grows to three minutes (docs/decisions.md#asking-slurm).
SECONDS_BETWEEN_QUESTIONS = 10.0
# A job that has written its outputs ends within moments.
SECONDS_BETWEEN_EARLY_QUESTIONS = 2.0
SECONDS_BETWEEN_LOOKS = 0.5


def adapt(files: RunFiles, site: Site, refuse: Refuse = lambda: None) -> None:
    """Make `--executor slurm` mean PatientExecutor, for this process; may be called again.

    Options of Slurm's commands in the environment are dropped, whichever executor is used.
    refuse: called before jobs are submitted, and must answer within seconds; a sentence stops the
    workflow in good order. The plugin is checked when the executor starts: WorkflowError names a
    version that does not fit.
    """
    ignored = slurm.ignored_requests()
    slurm.forget_variables(*slurm.OF_CLIENTS)
    plugin = ExecutorPluginRegistry().get_plugin("slurm")
    run = ExecutedRun(files, site, refuse, ignored)
    plugin.executor = type("RunExecutor", (PatientExecutor,), {"run": run})  # a class is expected


class PatientExecutor(SubmittingExecutor):
    """The plugin's executor, adapted. One thread polls, two submit, the main one schedules."""

    def __init__(self, workflow: Any, logger: Any) -> None:
        self._verdicts = Verdicts()
        self._being_asked: list[SubmittedJobInfo] = []
        self._silent_since: float | None = None
        self._pending = PendingJobs()
        # Last, since it starts the polling thread.
        super().__init__(workflow, logger)

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncIterator[SubmittedJobInfo]:
        """Poll Slurm once for all jobs of the run; yields those still to be waited for."""
        if not active_jobs:
            self._submit_held_back(some_job_ended=False)
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
        kept = [
            info
            for info in active_jobs
            # No answer is no news (docs/decisions.md#slurm-away).
            if found is None or not self._settle(info, states.get(info.external_jobid))
        ]
        for info in self._without_hopeless(kept):
            yield info
        self._being_asked = []
        self._submit_held_back(some_job_ended=len(kept) < len(active_jobs))

    def _without_hopeless(self, active: list[SubmittedJobInfo]) -> list[SubmittedJobInfo]:
        """Say what jobs have long been pending for; cancel those that can never start."""
        for said in self._pending.news():
            self.logger.warning(said)
        hopeless = self._pending.hopeless(self._own_job)
        for info in active:
            if why := hopeless.get(str(info.external_jobid)):
                with contextlib.suppress(slurm.SlurmError):
                    slurm.cancel([str(info.external_jobid)])
                self._end_run(info.job, why)
        return [info for info in active if str(info.external_jobid) not in hopeless]

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
        if verdict.kind == "wait":
            said = self._pending.look(job, submission.title(info.job)) if job else None
            if said:
                self.logger.warning(said)
            return False
        self._pending.forget(str(info.external_jobid))
        del self._watches[info.job]
        log_watch = self._log_watches.pop(info.job)
        if verdict.kind == "done":
            self._settle_done(info)
        elif verdict.kind == "interrupted":
            self._settle_interrupted(info, verdict.why)
        elif cause := interruptions.cause(str(info.external_jobid)):
            self._settle_interrupted(info, f"{verdict.why.rstrip('.')}: {cause}.")
        else:
            self._settle_failed(info, verdict.why, log_watch.has_written())
        return True

    def _settle_done(self, info: SubmittedJobInfo) -> None:
        line = submission.last_line(info.job)
        if line:
            self.logger.info(line)
        if not self.workflow.executor_settings.keep_successful_logs:
            info.aux["slurm_logfile"].unlink(missing_ok=True)
        self.report_job_success(info)

    def _settle_failed(self, info: SubmittedJobInfo, why: str, has_log: bool) -> None:
        log = info.aux["slurm_logfile"]
        # What the stage wrote in an earlier attempt would tell of another failure.
        own = [Path(str(log)) for log in info.job.log if has_log]
        # Snakemake's own message about a failed job is silenced by `quiet: [rules]`.
        self.logger.error(submission.failure(info.job, why, [*own, log]))
        self.report_job_error(info, msg=f"{why} ", aux_logs=[str(log)])

    def _settle_interrupted(self, info: SubmittedJobInfo, why: str) -> None:
        """Submit a job again that others have ended; to Snakemake it has been running all along."""
        # Not by way of Snakemake, which would count an attempt: with it grow memory and minutes.
        self.logger.warning(
            f"{submission.title(info.job)}: {why} It is submitted again, still as attempt "
            f"{info.job.attempt}."
        )
        self._submit_again(info.job)

    def _some_job_seems_to_end(self) -> bool:
        with self.lock:
            active = [self._watches.get(info.job) for info in self.active_jobs]
        # Outside the lock, which submissions need: a shared disk may be slow to answer. And all of
        # them, where any() would stop at the first: the poll that follows is a look at each.
        asking = [watch for watch in active if watch and watch.asks_for_a_look()]
        return bool(asking)

    def _say_silent(self, error: slurm.SlurmError) -> None:
        if self._silent_since is None:
            self._silent_since = time.monotonic()
            self.logger.warning(f"Slurm does not answer; still waiting for its jobs. {error}")

    def _say_answers(self) -> None:
        if self._silent_since is not None:
            silence = duration(time.monotonic() - self._silent_since)
            self.logger.warning(f"Slurm answers again, after {silence}.")
            self._silent_since = None
