"""Stages that begin only where they can end before their allocation does."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prime_core.run import deadline
from prime_core.run.job_records import StageStop, record_stop, stage_stops
from prime_core.run.layout import RunFiles
from prime_core.run.stages import Stage
from tests.support.fake_run import make_run, write_benchmark
from tests.support.workflow_runs import environment

NOW = 1_000_000.0


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(tmp_path / "run")


def begin(files: RunFiles, stage: str, iteration: int = 12, part: str = "") -> None:
    deadline.leave_if_too_late(files.root, Stage(iteration, stage, part), now=NOW)


def test_without_a_deadline_every_stage_begins(files, monkeypatch):
    monkeypatch.delenv(deadline.DEADLINE, raising=False)
    begin(files, "sample")
    assert not stage_stops(files)


def test_a_stage_is_expected_to_take_a_fifth_longer_than_its_longest_run(files):
    place = files.root / "benchmarks" / "iterations"
    write_benchmark(place / "0001" / "sample-00.tsv", 100.0)
    write_benchmark(place / "0002" / "sample-01.tsv", 200.0)
    write_benchmark(place / "0002" / "score.tsv", 500.0)
    write_benchmark(files.root / "benchmarks" / "evaluations" / "0002" / "aime.tsv", 700.0)
    assert deadline.seconds_needed(files, "sample") == pytest.approx(240)
    assert deadline.seconds_needed(files, "score") == pytest.approx(600)
    assert deadline.seconds_needed(files, "evaluate") == pytest.approx(840)
    assert deadline.seconds_needed(files, "verify") == deadline.UNKNOWN_SECONDS


def test_a_run_that_was_cut_off_says_that_more_is_needed(files):
    write_benchmark(files.root / "benchmarks" / "iterations" / "0001" / "score.tsv", 100.0)
    record_stop(files, StageStop("score", 2, "", 1000.0, NOW))
    assert deadline.seconds_needed(files, "score") == pytest.approx(1200)


def test_a_stage_that_can_stop_at_a_checkpoint_needs_two_minutes_at_most(files):
    write_benchmark(files.root / "benchmarks" / "iterations" / "0001" / "policy.tsv", 5000.0)
    assert deadline.seconds_needed(files, "policy") == 120


def test_a_stage_that_fits_begins(files, monkeypatch):
    write_benchmark(files.root / "benchmarks" / "iterations" / "0001" / "score.tsv", 100.0)
    monkeypatch.setenv(deadline.DEADLINE, str(NOW + 121))
    begin(files, "score")
    assert not stage_stops(files)


def test_a_stage_that_does_not_fit_is_left_with_a_sentence(files, monkeypatch, capfd):
    write_benchmark(files.root / "benchmarks" / "iterations" / "0001" / "score.tsv", 1860.0 / 1.2)
    monkeypatch.setenv(deadline.DEADLINE, str(NOW + 1200))
    with pytest.raises(SystemExit) as end:
        begin(files, "score")
    assert end.value.code == 75
    said = "score 12 needs about 31 min, only 20 min are left: deferred to the next allocation"
    assert said in capfd.readouterr().out
    assert stage_stops(files) == [StageStop("score", 12, "", 0.0, NOW)]


def test_a_stage_that_no_allocation_has_time_for_is_an_error(files, monkeypatch):
    record_stop(files, StageStop("sample", 1, "00", 3000.0, NOW - 5000))
    monkeypatch.setenv(deadline.BEGINNING, str(NOW - 10))
    monkeypatch.setenv(deadline.DEADLINE, str(NOW + 3000))
    with pytest.raises(deadline.TooLong, match=r"sample 12 01 needs about 1 h, .* 50 min"):
        begin(files, "sample", part="01")


def test_late_in_an_allocation_it_is_left_for_a_fresh_one(files, monkeypatch):
    record_stop(files, StageStop("sample", 1, "00", 3000.0, NOW - 5000))
    monkeypatch.setenv(deadline.BEGINNING, str(NOW - 2000))
    monkeypatch.setenv(deadline.DEADLINE, str(NOW + 1000))
    with pytest.raises(SystemExit):
        begin(files, "sample")


def test_only_the_first_rank_decides(files, monkeypatch):
    monkeypatch.setenv(deadline.DEADLINE, str(NOW - 1))
    monkeypatch.setenv("RANK", "1")
    begin(files, "policy")
    assert not stage_stops(files)


def test_a_stage_of_the_command_line_ends_with_status_75(tmp_path):
    run = make_run(tmp_path / "run", benchmarks=False)
    late = environment() | {deadline.DEADLINE: str(time.time() + 5)}
    command = [sys.executable, "-m", "prime_core.cli.main", "select", "--run", str(run)]
    done = subprocess.run([*command, "--iteration", "3"], env=late, capture_output=True, text=True)
    assert done.returncode == 75, done.stderr
    assert re.search(r"select 3 needs about 60 s, only \d(\.\d)? s are left", done.stdout)
    assert [stop.stage for stop in stage_stops(RunFiles(run))] == ["select"]
