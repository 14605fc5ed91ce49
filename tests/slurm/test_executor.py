"""The adapted executor on a real Slurm: polling, patience, one name, records, refusals, orphans.

No test counts on how long anything takes: jobs that must be running end when they are told.
"""

import shutil
import signal
import subprocess
import time

import pytest

from prime_core.launch.slurm.output_watch import MAX_EARLY_LOOKS
from prime_core.run.job_records import controller_starts, submitted_jobs
from tests.slurm.lab import SlurmLab
from tests.slurm.small_workflow import (
    LOCAL,
    UNTIL_TOLD,
    Running,
    SmallWorkflow,
    jobs_at_work,
    wrapped,
)

pytestmark = pytest.mark.slow


def running_job(workflow: SmallWorkflow, running: Running, lab: SlurmLab, started: int = 1) -> str:
    """The number of the workflow's one Slurm job, once so many jobs have begun."""
    running.wait_until(lambda: len(workflow.begun()) >= started, f"start of job {started}")
    (job_id,) = jobs_at_work(lab.env, workflow.name)
    return job_id


def test_the_end_of_a_job_is_noticed_by_its_outputs_with_few_questions(slurm, tmp_path):
    calls = tmp_path / "calls"
    env = wrapped(slurm.env, tmp_path, "squeue", f'date >> {calls}; exec $real "$@"')
    # Without its outputs, nobody would look for an hour.
    seldom = (
        "from prime_core.launch.slurm import executor; executor.SECONDS_BETWEEN_QUESTIONS = 3600"
    )
    workflow = SmallWorkflow(tmp_path / "work", seconds=(5, 1), before=seldom).write()
    begin = time.time()
    running = workflow.start(env=env)
    assert running.wait() == 0, running.said()
    # A few at the end of each of two jobs, and one before there is any.
    assert len(calls.read_text().splitlines()) <= 2 * MAX_EARLY_LOOKS + 1

    first, second = submitted_jobs(workflow.files)
    assert (first.stage, first.iteration, first.part, first.attempt) == ("step", 1, "00", 1)
    assert (second.iteration, second.log) == (2, "results/small/logs/2-0.log")
    assert begin < first.submitted < workflow.times(1)[0]
    (start,) = controller_starts(workflow.files)
    assert (start.way, start.pid, start.slurm_job, start.gpus) == (
        "slurm",
        running.process.pid,
        "",
        0,
    )
    assert (tmp_path / "work" / start.log).is_file()
    shown = ["sacct", "-nXP", f"-j{first.job_id},{second.job_id}", "-ojobname"]
    names = subprocess.run(shown, env=slurm.env, capture_output=True, text=True).stdout.split()
    assert names == [workflow.name] * 2


def test_a_cancelled_job_is_tried_again_within_the_sites_limits(slurm, tmp_path):
    command = f"echo hello from the job; {UNTIL_TOLD}"
    workflow = SmallWorkflow(tmp_path / "work", seconds=(0,), command=command)
    running = workflow.write().start("--retries", "1", env=slurm.env)
    first = running_job(workflow, running, slurm)
    subprocess.run(["scancel", first], env=slurm.env, check=True)
    running_job(workflow, running, slurm, started=2)
    # 800 MB and 10 minutes were asked for.
    assert jobs_at_work(slurm.env, workflow.name, "%m %l") == ["500M", "9:00"]
    workflow.let_go()
    assert running.wait() == 0, running.said()
    assert [line.attempt for line in submitted_jobs(workflow.files)] == [1, 2]
    failed = "step 00 of iteration 1 failed, attempt 1 of 2: "
    failed += f"Slurm job {first} ended in state CANCELLED."
    assert failed in running.said()
    assert "  hello from the job" in running.said()


def test_a_job_that_slurm_took_without_saying_so_is_not_submitted_twice(slurm, tmp_path):
    said = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    script = f'"$real" "$@" > /dev/null; echo "{said}" >&2; exit 1'
    env = wrapped(slurm.env, tmp_path, "sbatch", script)
    workflow = SmallWorkflow(tmp_path / "work", seconds=(0,), command=UNTIL_TOLD).write()
    running = workflow.start(env=env)
    running.wait_until(lambda: submitted_jobs(workflow.files), "record of the job")
    workflow.let_go()
    assert running.wait() == 0, running.said()
    assert workflow.begun() == ["1-0"]
    (line,) = submitted_jobs(workflow.files)
    assert not list((tmp_path / "work" / ".snakemake").rglob(f"{line.job_id}.log"))  # as others'


def test_a_slurmctld_that_is_gone_for_a_while_loses_nothing(slurm, tmp_path):
    with_jobs = SmallWorkflow(tmp_path / "jobs", seconds=(0,), command=UNTIL_TOLD).write()
    without = SmallWorkflow(tmp_path / "none", seconds=(1,), partition="gpu").write()
    one = with_jobs.start(env=slurm.env)
    job = running_job(with_jobs, one, slurm)
    slurm.wait_until_saved(job)
    slurm.kill("slurmctld")
    other = without.start(env=slurm.env)  # has a job to submit meanwhile
    one.wait_until(lambda: "Slurm does not answer" in one.said(), "message that Slurm is gone")
    other.wait_until(lambda: "Slurm accepts no jobs" in other.said(), "message of the other")
    with_jobs.let_go()
    one.wait_until((with_jobs.files.root / "iterations/1/0.txt").exists, "end of the job")
    slurm.start("slurmctld")
    assert (one.wait(), other.wait()) == (0, 0), one.said() + other.said()
    assert (with_jobs.begun(), without.begun()) == (["1-0"], ["1-0"])
    assert one.said().count("Slurm does not answer") == 1
    assert one.said().count("Slurm answers again, after ") == 1
    assert other.said().count("Slurm accepts no jobs; retrying for 30 min.") == 1
    assert [line.attempt for line in submitted_jobs(without.files)] == [1]
    # The node tells the new slurmctld only after a minute that the job is over.
    down = ["scontrol", "update", "nodename=cpu1", "state=down", "reason=test"]
    subprocess.run(down, env=slurm.env, check=True)


def test_a_job_that_slurm_has_forgotten_is_judged_by_its_outputs(fresh_slurm, tmp_path):
    written, cut_off = (
        SmallWorkflow(tmp_path / name, seconds=(0,), command=UNTIL_TOLD).write()
        for name in ("written", "cut_off")
    )
    runs = [flow.start("--retries", "1", env=fresh_slurm.env) for flow in (written, cut_off)]
    for flow, running in zip((written, cut_off), runs, strict=True):
        running_job(flow, running, fresh_slurm)
    fresh_slurm.kill("slurmctld")
    shutil.rmtree(fresh_slurm.folder / "state")
    (fresh_slurm.folder / "state").mkdir()
    with (fresh_slurm.folder / "slurm.conf").open("a") as conf:
        conf.write("FirstJobId=1000\n")  # nodes still know the jobs 1 and 2
    output = written.files.root / "iterations" / "1" / "0.txt"
    written.let_go()
    runs[0].wait_until(output.exists, "end of the job")
    fresh_slurm.start("slurmctld")
    runs[1].wait_until(lambda: len(cut_off.begun()) == 2, "second start of the job")
    cut_off.let_go()
    assert [running.wait() for running in runs] == [0, 0], runs[0].said() + runs[1].said()
    assert written.begun() == ["1-0"]
    assert cut_off.begun() == ["1-0"] * 2
    assert "Slurm no longer knows job" in runs[1].said()


def test_a_refusal_lets_running_jobs_finish_and_starts_no_more(slurm, tmp_path):
    workflow = SmallWorkflow(
        tmp_path / "work", seconds=(0, 0), num_shards=2, command=UNTIL_TOLD
    ).write()
    running = workflow.start("--retries", "2", env=slurm.env)
    running.wait_until(lambda: len(workflow.begun()) == 2, "start of both jobs")
    (workflow.folder / "refuse").write_text("max_gpu_hours 3 reached: 3.01 GPU-hours used")
    workflow.let_go()
    status = running.wait()
    said = running.said()
    assert status != 0
    assert said.count("max_gpu_hours 3 reached") == 1
    assert sorted(workflow.begun()) == ["1-0", "1-1"]
    finished = [shard for shard in (0, 1) if workflow.times(1, shard)]
    assert finished == [0, 1]
    assert "Trying to restart" not in said

    (workflow.folder / "refuse").unlink()
    again = workflow.start(env=slurm.env)
    assert again.wait() == 0, again.said()
    assert sorted(workflow.begun()) == ["1-0", "1-1", "2-0", "2-1"]


def test_jobs_of_a_dead_controller_are_waited_for_and_not_done_twice(slurm, tmp_path):
    workflow = SmallWorkflow(tmp_path / "work", seconds=(0, 0), command=UNTIL_TOLD).write()
    first = workflow.start(env=slurm.env)
    orphan = running_job(workflow, first, slurm)

    second = workflow.start(env=slurm.env)
    assert second.wait() != 0
    assert f"another workflow is running in results/small (process {first.process.pid} on " in (
        second.said()
    )

    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    message = f"iteration 1, step 00: Slurm job {orphan} running for "
    # On this machine instead of Slurm; told to stop, it stops and leaves the job alone.
    third = workflow.start(env=slurm.env, way=LOCAL)
    third.wait_until(lambda: message in third.said(), "message about the job")
    third.process.terminate()
    assert third.wait() != 0
    assert "stopped waiting for Slurm jobs of an earlier launch; they keep running" in third.said()
    assert jobs_at_work(slurm.env, workflow.name) == [orphan]

    # From another folder: the command is repeated where it was given. Slurm is away at first.
    where = ("--snakefile", "work/Snakefile", "--directory", "work")
    away = f"[ -e {tmp_path}/tried ] || {{ touch {tmp_path}/tried; exit 1; }}"
    env = wrapped(slurm.env, tmp_path, "squeue", f'{away}; exec $real "$@"')
    fourth = workflow.start(*where, env=env, way=LOCAL, typed_in=tmp_path)
    fourth.wait_until(lambda: message in fourth.said(), "message about the job")
    workflow.let_go()
    assert fourth.wait() == 0, fourth.said()
    assert "Slurm does not answer; jobs of results/small may be running" in fourth.said()
    assert workflow.begun() == ["1-0", "2-0"]
    assert [line.job_id for line in submitted_jobs(workflow.files)] == [orphan]
