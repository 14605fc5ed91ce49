"""The submitting half of the adapted executor: a ready job becomes one that Slurm has, or is kept.

In: jobs that Snakemake has found ready; in the main thread. Out: submitted and recorded jobs; in
the plugin's two threads. Tried again is what Slurm does not answer, kept for later what a limit on
queued jobs refuses, and any other refusal ends the workflow with Slurm's own words. Turning a job
into an sbatch command stays the plugin's.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_slurm import Executor
from snakemake_executor_plugin_slurm.utils import get_job_wildcards
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from prime_core.launch.site.site import Site
from prime_core.launch.slurm import account_limits, placement, plugin_checks, refusals, submission
from prime_core.launch.slurm import commands as slurm
from prime_core.launch.slurm.held_back import HeldBack
from prime_core.launch.slurm.output_watch import OutputWatch
from prime_core.launch.slurm.refusals import Refusal
from prime_core.run.job_records import (
    ControllerStart,
    HeldBackJobs,
    is_controller,
    record_controller,
    record_held_back,
    record_job,
    record_refusal,
    slurm_name,
)
from prime_core.run.layout import RunFiles

# Refusals in a row, with none of the user's jobs in the queue, until a limit is taken for final: a
# job that has just ended may still count.
TRIES_ALONE = 3
Refuse = Callable[[], str | None]


@dataclass(frozen=True)
class ExecutedRun:
    """The run that an executor class is bound to. ignored: what to say of the environment."""

    files: RunFiles
    site: Site
    refuse: Refuse
    ignored: str = ""


class SubmittingExecutor(Executor):
    """The plugin's executor with submission adapted; PatientExecutor adds the waiting."""

    run: ExecutedRun

    def __init__(self, workflow: Any, logger: Any) -> None:
        plugin_checks.check(Executor)
        plugin_checks.check_paths(Path.cwd(), workflow.main_snakefile, *workflow.configfiles)
        self._files, self._site, self._refuse = self.run.files, self.run.site, self.run.refuse
        self._refusal: str | None = None
        self._own_job = os.environ.get("SLURM_JOB_ID", "")
        # The workflow's own Slurm job: its jobs must not inherit what describes it. Before the
        # plugin's constructor, which would drop SLURM_CONF with the other variables.
        slurm.forget_variables(*slurm.OF_JOBS)
        self._recorded_start = False
        # Outputs and logs of each job, as they were when it was submitted.
        self._watches: dict[Any, OutputWatch] = {}
        self._log_watches: dict[Any, OutputWatch] = {}
        self._held_back = HeldBack()
        self._held_for = ""
        # Jobs of this launch that a full disk kept from being recorded.
        self._unrecorded: set[str] = set()
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
        if self.run.ignored:
            self.logger.warning(self.run.ignored)

    def run_jobs(self, jobs: Sequence[Any]) -> None:
        """Submit ready jobs, unless `refuse` objects."""
        # Not in the constructor, which runs before onstart: until then the run may be another's.
        self._record_start()
        if self._is_refused():
            self._stop_in_good_order(jobs)
        else:
            super().run_jobs(list(jobs))

    def run_job(self, job: Any) -> None:
        """Submit one job, behind those that a limit keeps waiting (docs/decisions.md#limits)."""
        lane = submission.lane(job)
        if not self._held_back.joins(lane, job):
            self._try_to_submit(job, lane)

    def _try_to_submit(self, job: Any, lane: Hashable) -> None:
        """Submit one job, or keep it for later, or end the workflow."""
        if self._refusal is not None or self._is_ending():  # since it became ready
            self._give_up([job])
            return
        refusal = self._submit(job)
        if refusal is None:
            following = self._held_back.accepted(lane)
            if following is not None:
                self._submit_later(following, lane)
            self._record_held_back()
        elif refusal.kind == "limit":
            self._hold_back(job, lane, refusal)
        elif refusal.kind == "broken":
            self.logger.error(submission.failure(job, refusal.said, []))
            self._report_job_error_threadsafe(SubmittedJobInfo(job), refusal.said)
        else:
            self._end_run(job, refusal.explained(submission.pool_name(job)))

    def _submit(self, job: Any) -> Refusal | None:
        """Submit one job, retrying while Slurm does not answer (docs/decisions.md#slurm-away)."""
        placement.place(job, self._site)
        self._watches[job] = OutputWatch(Path(str(output)) for output in job.output)
        self._log_watches[job] = OutputWatch(Path(str(log)) for log in job.log)
        find = partial(submission.accepted, self._files, self._unrecorded, self.run_uuid)
        patience = submission.Patience(self._closing, self.logger)
        accepted: str | None = ""
        while not accepted:
            self._submission.failure = ""
            super().run_job(job)
            failure, self._submission.failure = self._submission.failure, None
            if not failure:
                return None
            refusal = refusals.read(failure)
            if refusal.kind != "away":
                return refusal
            accepted = patience.wait(refusal.said, partial(find, _comment(job)))
            if accepted is None:
                return refusal
        # sbatch failed, yet Slurm has accepted the job.
        # Where the plugin had told sbatch to write, with the id in place of %j.
        log = self.slurm_logdir / f"rule_{job.name}" / get_job_wildcards(job) / f"{accepted}.log"
        info = SubmittedJobInfo(job, accepted, {"slurm_logfile": log})
        self._report_job_submission_threadsafe(info)
        return None

    def _hold_back(self, job: Any, lane: Hashable, refusal: Refusal) -> None:
        """Keep a job until a limit lets it through; end the workflow where it never will."""
        partition, account, qos = submission.lane(job)
        asked = account_limits.asked_of(account, qos, partition)
        never = account_limits.never(refusal.limit, asked, self._own_job)
        alone = refusal.is_of_user and self._is_alone()
        times_alone, speak = self._held_back.refused(lane, job, alone)
        self._held_for = refusal.explained(submission.pool_name(job))
        if never or times_alone >= TRIES_ALONE:
            why = never or "and none of your jobs is in the queue that could leave it"
            self._end_run(job, f"{refusal.said}: {why}")
        elif speak:
            self.logger.warning(
                f"{submission.title(job)} waits for room in the queue: {self._held_for}; its "
                "attempts are not used up"
            )
        self._record_held_back()

    def _record_held_back(self) -> None:
        """For `prime status`; a full disk stops the stages, not this."""
        held = HeldBackJobs(len(self._held_back), self._held_for)
        if held.count or self._files.held_back_jobs.exists():
            with contextlib.suppress(OSError):
                record_held_back(self._files, held)

    def _is_alone(self) -> bool:
        """Whether this user has no job in the queue that could leave it: controllers wait, too."""
        try:
            return all(is_controller(job.name) for job in slurm.jobs_of_user())
        except slurm.SlurmError:
            return False

    def _submit_held_back(self, some_job_ended: bool) -> None:
        """Try jobs that a limit kept waiting; give them up once the workflow ends."""
        if self._is_ending():
            if dropped := self._held_back.dropped():
                self._give_up(dropped)
                self._record_held_back()
            return
        for lane, job in self._held_back.due(some_job_ended):
            self._submit_later(job, lane)

    def _submit_again(self, job: Any) -> None:
        """Submit a job that was interrupted, behind those that a limit keeps waiting."""
        lane = submission.lane(job)
        if not self._held_back.joins(lane, job):
            self._submit_later(job, lane)

    def _submit_later(self, job: Any, lane: Hashable) -> None:
        def submit() -> None:
            # Hours may have passed since the job became ready.
            if self._is_refused():
                self._stop_in_good_order([job])
            else:
                self._try_to_submit(job, lane)

        # Its pool of threads takes nothing more once the workflow has ended.
        with contextlib.suppress(RuntimeError):
            self._job_submission_executor.submit(submit)

    def _end_run(self, job: Any, why: str) -> None:
        """Say why a job is not submitted, record it, end the workflow: again it would be refused.

        Jobs at work may finish.
        """
        said = f"{submission.title(job)} is refused by Slurm: {why}"
        if self._refusal is None:
            self.logger.error(said)
            self._refusal = said
        try:
            record_refusal(self._files, submission.refused_job(job, why))
        except OSError as error:
            self.logger.warning(f"{self._files.refused_jobs}: {error}")
        self._stop_in_good_order([job, *self._held_back.dropped()])

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
            self._unrecorded.add(str(job_info.external_jobid))
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
        self._give_up(jobs)
        self.workflow.scheduler.exit_gracefully()

    def _give_up(self, jobs: Sequence[Any]) -> None:
        """Let Snakemake forget jobs that are not submitted."""
        scheduler = self.workflow.scheduler
        with scheduler._lock:
            # Not reported as failed: Snakemake would delete their outputs and retry them.
            # Still listed as running, they would be waited for forever.
            scheduler.running.difference_update(jobs)
        scheduler._open_jobs.release()  # it may have waited for these alone

    def _is_ending(self) -> bool:
        """Whether Snakemake only waits for its running jobs, after a failure or a signal."""
        scheduler = self.workflow.scheduler
        if scheduler is None:  # the polling thread starts while the scheduler is being made
            return False
        failed = scheduler._errors and not scheduler.keepgoing
        return bool(scheduler._user_kill or failed)

    def _record_start(self) -> None:
        if self._recorded_start:
            return
        self._recorded_start = True
        self._record_held_back()  # none yet: what is there is an earlier launch's
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


def _comment(job: Any) -> str:
    """The comment that the plugin submits a job with, unique to it."""
    wildcards = get_job_wildcards(job)
    # Spelled as in the plugin's run_job: a job that sbatch did not admit to is found by it.
    return f"rule_{job.name}_wildcards_{wildcards}" if wildcards else f"rule_{job.name}"
