"""`prime runs`: every run of a results folder in a line, from files and one squeue."""

import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from prime_core.launch.status.runs import NoRuns, page, read_runs
from prime_core.run.job_records import controller_name, slurm_name
from prime_core.run.layout import RunFiles
from tests.launch.test_status import held_by
from tests.support.fake_run import make_run
from tests.support.fake_slurm import add_slurm_jobs


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Runs that are finished, stopped, and inside a folder of ablations, and what is no run."""
    folder = tmp_path / "results"
    done = RunFiles(make_run(folder / "done", iterations=4, planned=4))
    done.crate.touch()
    add_slurm_jobs(make_run(folder / "half", iterations=4, planned=8), 4)
    make_run(folder / "ablations" / "prime-seed0", iterations=2, planned=4)
    (folder / "ablations" / "report").mkdir()
    (folder / "notes.txt").touch()
    return folder


def test_every_run_is_a_line_with_its_progress(results: Path):
    lines, problem = read_runs(results)
    assert problem == ""
    assert [(line.run, line.state, line.done, line.iterations) for line in lines] == [
        ("ablations/prime-seed0", "stopped", 2, 4),
        ("done", "finished", 4, 4),
        ("half", "stopped", 4, 8),
    ]
    assert lines[0].gpu_hours is None
    assert lines[2].gpu_hours is not None
    assert lines[2].gpu_hours > 10
    text = "\n".join(page(lines, ""))
    assert "done                   finished   4/4" in text


def test_a_run_that_a_workflow_holds_is_running(results: Path):
    path = held_by(results / "half", socket.gethostname())
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lines, _ = read_runs(results)
    assert [line.state for line in lines] == ["stopped", "finished", "running"]


def test_all_jobs_come_from_one_question(results: Path, monkeypatch: pytest.MonkeyPatch):
    half, seed = results / "half", results / "ablations" / "prime-seed0"
    queued = [(slurm_name(half), "RUNNING"), (slurm_name(half), "PENDING")]
    queued += [(controller_name(seed), "PENDING"), ("others", "RUNNING")]
    rows = [
        f"{number}|{name}|{state}|Priority|gpu||1:00|9:00|N/A|c"
        for number, (name, state) in enumerate(queued)
    ]
    program = results.parent / "bin" / "squeue"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\necho x >> {results}/asked\ncat <<'END'\n" + "\n".join(rows) + "\nEND\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    lines, _ = read_runs(results)
    states = {line.run: (line.state, line.running, line.pending) for line in lines}
    assert states["half"] == ("stopped", 1, 1), "its jobs go on without it"
    assert states["ablations/prime-seed0"] == ("pending", 0, 0)
    assert (results / "asked").read_text().count("x") == 1
    assert "1 + 1 pending" in "\n".join(page(lines, ""))


def test_a_slurm_that_does_not_answer_is_said_below_the_table(results: Path):
    lines, _ = read_runs(results)
    assert list(page(lines, "squeue: away"))[-1] == "Slurm does not answer: squeue: away"


def test_settings_that_cannot_be_read_do_not_hide_the_other_runs(results: Path):
    RunFiles(results / "half").config.write_text("no_such_key: 1\n")
    lines, _ = read_runs(results)
    assert "no_such_key" in lines[2].state
    assert lines[1].state == "finished"


def test_the_command_prints_a_table_or_json(results: Path):
    command = [sys.executable, "-m", "prime_core.cli.main", "runs", "--results", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].split() == [
        *("RUN", "STATE", "DONE", "ACCURACY", "GPU-H", "JOBS", "LEFT")
    ]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert [line["state"] for line in json.loads(done.stdout)] == ["stopped", "finished", "stopped"]


def test_a_folder_without_runs_is_refused(tmp_path: Path):
    with pytest.raises(NoRuns, match="no run was started there"):
        read_runs(tmp_path)
