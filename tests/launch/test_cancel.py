"""`prime cancel` of a workflow on this machine, without Slurm."""

import json
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from prime_core.launch.status import cancel as status_cancel
from prime_core.run.layout import RunFiles
from prime_core.runtime.run_lock import Holder, lock_file
from tests.support.processes import is_at_work
from tests.support.workflow_runs import TINY, command, environment

SETTINGS = TINY | {"iterations": 0, "sft": TINY["sft"] | {"num_steps": 12000}}


def cancel(run: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "prime_core.cli.main", "cancel", "--run", str(run)]
    return subprocess.run(words, capture_output=True, text=True)


def test_where_nothing_is_at_work_that_is_said(tmp_path):
    assert f"{tmp_path}: nothing is running" in cancel(tmp_path).stdout


def test_a_process_of_this_number_is_left_alone_where_the_holder_is_another_hosts(tmp_path):
    path = lock_file(tmp_path)
    path.parent.mkdir()
    with subprocess.Popen(["sleep", "60"]) as other:
        holder = Holder(socket.gethostname(), "another", other.pid, "", time.time())
        path.write_text(json.dumps(asdict(holder)))
        done = cancel(tmp_path)
        assert f"(process {other.pid}); run there: kill -INT {other.pid}" in done.stderr
        assert other.poll() is None
        other.kill()


def test_a_holder_that_has_just_ended_by_itself_is_no_error(tmp_path, monkeypatch, capsys):
    with subprocess.Popen(["true"]) as over:
        over.wait()
    holder = Holder(socket.gethostname(), "here", over.pid, "", time.time())
    monkeypatch.setattr(Holder, "is_here", True)
    answers = iter([holder, None])
    monkeypatch.setattr(status_cancel, "find_holder", lambda _run: next(answers))
    status_cancel.cancel(tmp_path)
    assert f"ended snakemake: process {over.pid}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_local_workflow_ends_with_its_stages_and_can_be_started_again(tmp_path):
    files = RunFiles(tmp_path / "results" / "tiny")
    words = command(tmp_path, settings=SETTINGS)
    with (tmp_path / "log").open("w") as log:
        workflow = subprocess.Popen(words, env=environment(), stdout=log, stderr=log)
    stage_log = files.root / "logs" / "sft.log"
    end = time.monotonic() + 120
    while not (stage_log.exists() and "step/s" in stage_log.read_text()):
        assert time.monotonic() < end, (tmp_path / "log").read_text()
        time.sleep(0.2)
    below = psutil.Process(workflow.pid).children(recursive=True)
    done = cancel(files.root)
    assert f"ended snakemake: process {workflow.pid}" in done.stdout, done.stderr
    assert workflow.wait(30) != 0
    assert not [process for process in below if is_at_work(process)]
    assert not files.policy(0).exists()
    again = subprocess.run([*words, "--dry-run"], env=environment(), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "nothing is running" in cancel(files.root).stdout
