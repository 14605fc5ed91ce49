"""`prime status` and `prime logs` on run folders, without Slurm."""

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console

from prime_core.launch.slurm import commands as slurm
from prime_core.launch.status.logs import NoLog, find_log
from prime_core.launch.status.page import WIDTH, page, screen
from prime_core.launch.status.progress import Progress, estimate, quartiles, read_progress
from prime_core.launch.status.stage_logs import last_error, logs_of_stages
from prime_core.launch.status.status import NoRun, RunStatus, as_json, read_status
from prime_core.launch.status.terminal import THEME, view
from prime_core.run.job_records import (
    HeldBackJobs,
    RefusedJob,
    SubmittedJob,
    controller_name,
    record_held_back,
    record_job,
    record_refusal,
    slurm_name,
)
from prime_core.run.layout import RunFiles
from prime_core.run.stages import Stage, result_of
from prime_core.runtime.run_lock import Holder, lock_file, machine
from tests.support.fake_run import make_run
from tests.support.fake_slurm import add_slurm_jobs, queued


def made(tmp_path: Path, iterations: int = 4, planned: int = 4) -> Path:
    """A run of which each iteration took 100 s."""
    run = make_run(tmp_path / "run", iterations=iterations, planned=planned)
    for iteration in range(1, iterations + 1):
        ended = time.time() - 100 * (iterations - iteration)
        for stage in ("policy", "prm"):
            os.utime(RunFiles(run).metrics(iteration, stage), (ended, ended))
    return run


def log(run: Path, name: str, text: str) -> Path:
    path = run / "logs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_finished_run_says_so(tmp_path):
    run = made(tmp_path)
    RunFiles(run).crate.touch()
    text = page(read_status(run))
    assert "4 of 4 iterations, finished" in text
    assert "nothing drives" not in text
    assert "validation 0.890 (0.840 to 0.935) after 4" in text


def test_a_run_that_stands_still_tells_what_is_left(tmp_path):
    text = page(read_status(made(tmp_path, iterations=4, planned=10)))
    assert "4 of 10 iterations" in text
    assert "iteration 5: sample 0/2, verify 0/2, select 0/1, score 0/1, prm 0/1, policy 0/1" in text
    assert "once started again: 10 min left" in text
    assert "nothing drives this run: start it again" in text


def test_the_estimate_is_the_median_with_quartiles_and_counts_the_iteration_at_work():
    ends = [0.0, 100.0, 200.0, 320.0, 400.0, 1000.0]  # it stood still before the last
    progress = Progress(10, 6, False, ends, {}, [])
    expected = estimate(progress, now=1050.0)
    assert expected is not None
    assert expected.seconds_per_iteration == 100
    assert expected.seconds == 4 * 100 - 50
    assert (expected.low, expected.high) == (4 * 100 - 50, 4 * 120 - 50)
    assert quartiles([100, 100, 120, 80, 600]) == (100, 100, 120)


def test_there_is_no_estimate_before_two_iterations_or_at_the_end():
    assert estimate(Progress(10, 1, False, [5.0], {}, []), now=9.0) is None
    assert estimate(Progress(2, 2, False, [5.0, 9.0], {}, []), now=9.0) is None


def test_iterations_count_as_done_without_a_gap_only(tmp_path):
    run = made(tmp_path)
    RunFiles(run).metrics(3, "prm").unlink()
    progress = read_progress(RunFiles(run))
    assert progress.done == 2
    assert progress.current["prm"] == "0/1"
    assert progress.current["policy"] == "1/1"


def test_a_failed_stage_is_shown_with_its_last_error(tmp_path):
    run = made(tmp_path, iterations=2, planned=4)
    log(run, "iterations/0003/policy.log", "going\nprime policy: error: no room\nsrun: error: x\n")
    log(run, "iterations/0003/select.log", "half of it\n")
    text = page(read_status(run))
    assert "not finished: policy 3\n  prime policy: error: no room\n" in text
    assert "not finished: select 3 (interrupted)\n  half of it\n" in text


def test_the_resident_process_is_no_stage(tmp_path):
    run = made(tmp_path)
    log(run, "resident.log", "Setting accelerator to CPU.\n")
    assert read_status(run).failed == []


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(NoRun, match="no run was started there"):
        read_status(tmp_path)


def held_by(run: Path, host: str) -> Path:
    """The lock file of a run that a workflow of a host holds, or held."""
    path = lock_file(run)
    path.parent.mkdir()
    with path.open("w") as file:
        here = machine(file.fileno()) if host == socket.gethostname() else "another"
        json.dump(asdict(Holder(host, here, os.getpid(), "", time.time() - 60)), file)
    return path


def test_a_local_workflow_is_found_by_its_lock(tmp_path):
    run = made(tmp_path, iterations=2, planned=4)
    path = held_by(run, socket.gethostname())
    assert "nothing drives" in page(read_status(run))
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        status = read_status(run)
    assert f"controller: process {os.getpid()} on {socket.gethostname()}, running" in page(status)
    assert (status.controller.way, status.controller.state) == ("local", "running")


def test_a_workflow_of_another_host_is_found_by_its_heartbeats(tmp_path):
    run = made(tmp_path, iterations=2, planned=4)
    path = held_by(run, "elsewhere")
    log(run, "iterations/0003/sample-00.log", "sampling: 50%\n")
    status = read_status(run)
    assert status.controller.host == "elsewhere"
    assert [work.stage for work in status.at_work] == [Stage(3, "sample", "00")]
    assert "  sample 3 00  running" in page(status)
    os.utime(path, (time.time() - 300, time.time() - 300))
    assert "nothing drives" in page(read_status(run))


def test_a_job_that_slurm_ended_is_told_in_words(tmp_path):
    said = "slurmstepd-cpu1: error: *** JOB 40 ON cpu1 CANCELLED AT 2026-11-30T18:00:09 ***\n"
    path = log(tmp_path, "a.log", said)
    assert last_error(path) == "cancelled on cpu1 at 2026-11-30 18:00:09"
    path.write_text(said.replace(" ***\n", " DUE TO TIME LIMIT ***\n"))
    assert last_error(path) == "cancelled on cpu1 at 2026-11-30 18:00:09, due to time limit"


def test_gpu_hours_so_far_are_shown_with_what_they_come_to(tmp_path):
    run = make_run(tmp_path / "run", iterations=4, planned=8)
    assert read_status(run).gpu_hours is None, "no Slurm job"
    add_slurm_jobs(run, 4)
    status = read_status(run)
    assert status.gpu_hours is not None
    hours = f"{status.gpu_hours:,.1f}"
    text = page(status)
    assert f"GPU-hours: {hours} so far, about {2 * status.gpu_hours:,.1f} in the end" in text
    assert f"GPU-hours: {hours} so far" in shown(status)


def shown(status: RunStatus) -> str:
    """What a terminal of 200 columns gets, with its colours."""
    with view(False) as terminal:
        console = Console(width=200, force_terminal=True, color_system="standard", theme=THEME)
        with console.capture() as captured:
            console.print(screen(status))
        assert not terminal.is_terminal
    return captured.get()


def test_a_terminal_gets_colours_and_a_pipe_none(tmp_path):
    run = made(tmp_path, iterations=2, planned=4)
    log(run, "iterations/0003/policy.log", "prime policy: error: [red]no room[/red]\n")
    path = held_by(run, "elsewhere")
    log(run, "iterations/0003/sample-00.log", "sampling: 50%\n")
    status = read_status(run)
    text = shown(status)
    assert "\x1b[32mrunning\x1b[0m" in text
    assert "\x1b[31mnot finished: policy 3\x1b[0m" in text
    assert "[red]no room[/red]" in text, "what a log says is no markup"
    assert "\x1b" not in page(status)
    path.unlink()
    assert "\x1b[31mnothing drives this run" in shown(read_status(run))


def test_the_page_is_80_columns_wide(tmp_path):
    run = made(tmp_path, iterations=2, planned=4)
    log(run, "iterations/0003/policy.log", "prime policy: error: " + "many words " * 30 + "\n")
    assert max(map(len, page(read_status(run)).splitlines())) <= max(WIDTH, len(str(run)) + 40)


def test_json_holds_the_same(tmp_path):
    run = made(tmp_path, iterations=2, planned=4)
    command = [sys.executable, "-m", "prime_core.cli.main", "status", "--json", "--run", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    values = json.loads(done.stdout)
    assert values["progress"]["done"] == 2
    assert values["controller"]["state"] == "none"


def test_results_of_stages_are_where_stages_write_them(tmp_path):
    files = RunFiles(made(tmp_path))
    for stage in (
        Stage(3, "verify", "01"),
        Stage(4, "evaluate", "validation"),
        Stage(0, "sft", ""),
    ):
        assert result_of(files, stage).exists()


def test_the_last_error_is_the_one_that_counts(tmp_path):
    path = tmp_path / "a.log"
    path.write_text("Error: first\nprime x: error: second\rbar 50%\nbye\nsrun: error: task 0\n")
    assert last_error(path) == "prime x: error: second"
    path.write_text("all is well\n")
    assert last_error(path) == ""


def test_logs_are_found_by_iteration_stage_and_part(tmp_path):
    files = RunFiles(made(tmp_path))
    logs = {
        name: log(files.root, name, "text\n")
        for name in (
            "sft.log",
            "iterations/0001/policy.log",
            "iterations/0002/policy.log",
            "iterations/0002/verify-00.log",
            "iterations/0002/verify-01.log",
        )
    }
    os.utime(logs["iterations/0002/verify-01.log"], (1, 1))
    assert len(logs_of_stages(files)) == 5
    assert find_log(files, ["sft"], None) == (logs["sft.log"], "")
    assert find_log(files, ["1", "policy"], None)[0] == logs["iterations/0001/policy.log"]
    assert find_log(files, ["policy", "1"], None)[0] == logs["iterations/0001/policy.log"]
    path, note = find_log(files, ["2", "verify"], None)
    assert path == logs["iterations/0002/verify-00.log"]
    assert note == " (also: verify 2 01)"
    second = find_log(files, ["2", "verify"], "1")[0]
    assert second == logs["iterations/0002/verify-01.log"]
    # As `prime status` names it, and as a person would.
    for words in (["verify", "2", "01"], ["2", "verify", "01"], ["2", "verify", "1"]):
        assert find_log(files, words, None)[0] == second
    with pytest.raises(NoLog, match="expected one part, found '0' and --part 1"):
        find_log(files, ["2", "verify", "0"], "1")


def test_a_benchmarks_name_is_a_part_and_not_a_stage(tmp_path):
    files = RunFiles(make_run(tmp_path / "fresh"))
    aime = log(files.root, "evaluations/0000/aime.log", "a\n")
    log(files.root, "evaluations/0004/math-500.log", "b\n")
    for words in (["evaluate", "0", "aime"], ["0", "evaluate", "aime"]):
        assert find_log(files, words, None) == (aime, "")


def test_an_unknown_stage_is_answered_with_those_there_are(tmp_path):
    files = RunFiles(made(tmp_path))
    log(files.root, "sft.log", "")
    log(files.root, "iterations/0002/policy.log", "")
    message = r"no log of '2 polcy'; available: sft; policy of iterations 2 to 2"
    with pytest.raises(NoLog, match=message):
        find_log(files, ["2", "polcy"], None)
    for words in (["2", "3"], ["2", "3", "4", "policy"]):
        with pytest.raises(NoLog, match=r"e\.g\. 12 policy or 12 sample 03, found '2 3"):
            find_log(files, words, None)


def test_where_a_stage_wrote_nothing_slurms_log_of_its_job_is_shown(tmp_path):
    files = RunFiles(made(tmp_path))
    log(files.root, "iterations/0003/score.log", "")
    for number in ("7", "8"):
        job = SubmittedJob(number, "score", 3, "", int(number), float(number), "", 1)
        record_job(files, job)
        place = tmp_path / ".snakemake" / "slurm_logs" / "rule_score" / f"{number}.log"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("slurmstepd: error: out of memory\n")
    assert find_log(files, ["3", "score"], None)[0] == place


def test_without_a_controllers_log_the_reader_is_told_where_else_to_look(tmp_path):
    with pytest.raises(NoLog, match="no controller was launched"):
        find_log(RunFiles(made(tmp_path)), [], None)


def test_a_log_is_followed_also_when_it_begins_anew(tmp_path):
    run = made(tmp_path)
    path = log(run, "sft.log", "one\n")
    command = [sys.executable, "-m", "prime_core.cli.main", "logs", "-f", "sft", "--run", str(run)]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "one\n"
        with path.open("a") as file:
            file.write("two\n")
        assert reader.stdout.readline() == "two\n"
        path.unlink()
        path.write_text("again\n")
        assert reader.stdout.readline() == "again\n"
    finally:
        reader.kill()
        reader.wait()


def test_a_refused_submission_is_shown_until_the_stage_is_submitted(tmp_path):
    run = made(tmp_path, iterations=2, planned=4)
    files = RunFiles(run)
    why = "Invalid account (see gpu.account in site.yaml)"
    record_refusal(files, RefusedJob("sample", 3, "00", 100.0, why))
    record_refusal(
        files, RefusedJob("sample", 1, "00", 100.0, "of a stage that has finished since")
    )
    text = page(read_status(run))
    assert f"not finished: sample 3 00 (refused by Slurm)\n  {why}\n" in text
    assert "finished since" not in text
    assert "with the same command, once Slurm takes its jobs" in " ".join(text.split())
    record_job(files, SubmittedJob("7", "sample", 3, "00", 1, 101.0, "logs/sample.log"))
    assert "refused" not in page(read_status(run)).replace(str(run), "")


def test_jobs_that_wait_for_room_in_the_queue_are_shown_while_a_controller_waits(tmp_path):
    run = made(tmp_path, iterations=2, planned=4)
    record_held_back(RunFiles(run), HeldBackJobs(3, "QOSMaxSubmitJobPerUserLimit (no more jobs)"))
    assert "wait for room" not in page(read_status(run))
    with held_by(run, socket.gethostname()).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = page(read_status(run))
    assert "3 more wait for room in the queue:\n  QOSMaxSubmitJobPerUserLimit (no more" in text


def test_what_pending_jobs_wait_for_is_said_in_words_once_for_all(tmp_path, monkeypatch):
    run = made(tmp_path, iterations=2, planned=4)
    jobs = [queued(number, reason="QOSMaxGRESPerUser") for number in ("7", "8")]
    mine = queued("9", reason="Priority")
    answers = {slurm_name(run): jobs, controller_name(run): [mine]}
    monkeypatch.setattr(slurm, "is_available", lambda: True)
    monkeypatch.setattr(slurm, "jobs_named", answers.get)
    for number in ("7", "8"):
        record_job(RunFiles(run), SubmittedJob(number, "sample", 3, number, 1, 1.0, "log"))
    status = read_status(run)
    text = " ".join(page(status).split())
    assert text.count("no more GPUs at a time are allowed to your jobs in its QoS") == 1
    assert "Priority: jobs of higher priority are ahead in the queue" in text
    assert json.loads(as_json(status))["at_work"][0]["waits_for"].startswith("QOSMaxGRESPerUser: ")
