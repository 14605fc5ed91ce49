"""The comparison with TRL: its environment, and the table's ratios."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.peers import __main__ as peers
from benchmarks.peers.__main__ import LOCK, TRL, Row, table_of, trl_python, ways
from benchmarks.peers.watching import Watched
from prime_core.run.layout import RunFiles
from prime_core.settings.run import Settings

really_run = subprocess.run


@pytest.fixture
def commands(monkeypatch):
    """Commands instead of what they would do; each succeeds."""
    given = []

    def run(command):
        given.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(peers.subprocess, "run", run)
    return given


def test_trl_gets_this_projects_torch_and_versions_in_a_place_of_its_own(commands, tmp_path):
    place = tmp_path / "trl-venv"
    place.mkdir()  # as venv, which does not run here, would
    python = trl_python(tmp_path)
    assert python == place / "bin" / "python"
    venv, torch, trl = commands
    assert venv[1:4] == ["-m", "venv", "--clear"]
    dry = really_run([*torch, "--dry-run"], capture_output=True, text=True, check=False)
    assert dry.returncode == 0, dry.stderr
    assert str(place) in dry.stdout
    assert trl[-2:] == [str(LOCK), TRL]
    assert LOCK.read_text(encoding="utf-8").count("torch==") == 1
    trl_python(tmp_path)  # made once
    assert len(commands) == 3


def test_an_environment_that_cannot_be_made_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(
        peers.subprocess, "run", lambda command: subprocess.CompletedProcess(command, 1)
    )
    with pytest.raises(SystemExit, match=f"{TRL} cannot be installed: .* -m venv"):
        trl_python(tmp_path)


def test_ratios_are_to_the_first_row_and_leave_the_first_iteration_out(monkeypatch):
    shares = {"weights-2": 0.5, "weights-4": 0.75, "policy-0000": 0.25}
    monkeypatch.setattr(peers, "accuracy", lambda model, *_: shares[model.name])

    def row(name: str, seconds: float) -> Row:
        watched = Watched(began=100.0, wall_s=40.0, cpu_s=8 * seconds, peak_mb=600.0)
        weights = [Path(f"weights-{number}") for number in (1, 2, 3, 4)]
        return Row(name, [9.0, *[seconds] * 3], watched, 109.0, weights)

    rows = [row("TRL", 2.0), row("ours", 3.0)]
    _, _, theirs, ours, _, begin = table_of(rows, RunFiles(Path("start")), Settings())
    assert theirs.startswith("| TRL | 2.0 | 1.0 | 4.0 | 1.0 | 600 | 9 | ")
    assert ours.startswith("| ours | 3.0 | 1.5 | 6.0 | 1.5 | 600 | 9 | ")
    # Two iterations are the first, which also starts things, and one more.
    assert ours.endswith("50.0 % after 2 (12), 75.0 % after 4 (18) |")
    assert begin == "Both start at 25.0 %."


def test_every_way_of_stages_on_one_machine_is_compared():
    shown = " ".join(ways())
    assert "cold stages" in shown
    assert "resident stages" in shown
    assert len({run for run, _ in ways().values()}) == len(ways())


def test_a_row_that_was_kept_is_the_one_that_was_measured(tmp_path):
    watched = Watched(began=1.5, wall_s=2.0, cpu_s=3.0, peak_mb=4.0)
    row = Row("TRL", [1.0, 2.0], watched, 2.5, [Path("weights/0001")])
    row.write(tmp_path / "rows" / "2-0.json")
    assert Row.read(tmp_path / "rows" / "2-0.json") == row
