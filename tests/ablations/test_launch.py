"""`prime launch ablations`: one small job for all runs; nothing here needs Slurm."""

from pathlib import Path

import pytest
import yaml

from prime_core.ablations.launch import asked_ablations, run
from prime_core.launch.launch import Options
from prime_core.settings.reading import SettingsError
from tests.support.made_up_ablations import SETTINGS


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PRIME_SITE", str(tmp_path / "site.yaml"))
    (tmp_path / "site.yaml").write_text("controller: {partition: serial, max_minutes: 720}\n")
    path = tmp_path / "ablations.yaml"
    path.write_text(
        yaml.safe_dump(
            SETTINGS | {"results": str(tmp_path / "results"), "base": "configs/quickstart.yaml"}
        )
    )
    return str(path)


def test_a_dry_run_shows_the_job_of_all_runs(file, tmp_path, capsys):
    words = ["ablations", "--configfile", file, "--config", "at_once=3"]
    run(Options("slurm", dry_run=True), words)
    shown = capsys.readouterr().out
    for option in ("partition=serial", "time=720", "cpus-per-task=1", "mem=2560M"):
        assert f"    --{option}\n" in shown
    assert "prime_results_" in shown
    # The job has one processor, and Snakemake would start one run at a time.
    assert "--profile slurm ablations" in shown
    assert shown.strip().endswith("--local-cores 3")
    assert not (tmp_path / "results").exists()


def test_its_settings_are_checked_before_anything_is_submitted(file):
    with pytest.raises(SettingsError, match="at_onc"):
        run(Options("slurm", dry_run=True), ["ablations", "--configfile", file, "-C", "at_onc=3"])
    with pytest.raises(SettingsError, match="no such option"):
        run(Options("slurm", dry_run=True), ["ablations", "--no-such-option"])
    with pytest.raises(SettingsError, match="an allocation holds a single run"):
        run(Options("allocation", dry_run=True), ["ablations"])


def test_settings_are_those_that_snakemake_would_see(file):
    words = ["ablations", "--configfile", file, "--config", "seeds=[7]", "settings.iterations=9"]
    asked = asked_ablations(words)
    assert asked.seeds == (7,)
    assert asked.settings["iterations"] == 9
