"""Training states in memory: where it makes sense, else on disk; never where others can read."""

import os
import sys
from pathlib import Path

import pytest

from prime_core.launch.site.site import Site
from prime_core.launch.site.stage_resources import load_stages
from prime_core.launch.state_storage import keep_states
from prime_core.run.deadline import DEADLINE
from prime_core.runtime.private_folder import NotPrivate
from prime_core.settings.reading import SettingsError, parse_settings
from prime_core.storage import node_cache, state_memory
from tests.support.shared_data import ROOT

SETTINGS = parse_settings({"training.state_storage": "memory"}, "test")
NEEDS = load_stages(ROOT / "cluster_profiles" / "stages.yaml")


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `snakemake` on one machine, in no job and no allocation."""
    monkeypatch.setattr(sys, "argv", ["snakemake", "--cores", "1"])
    for name in (DEADLINE, node_cache.STORAGE, "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(state_memory.PLACE, "of another workflow")


def place() -> str | None:
    return os.environ.get(state_memory.PLACE)


def test_on_one_machine_they_are_in_its_memory_or_where_the_user_says(tmp_path):
    assert keep_states(SETTINGS, NEEDS, Site())
    assert place() == f"/dev/shm/prime-{os.getuid()}"
    assert keep_states(SETTINGS, NEEDS, Site(fast_storage=str(tmp_path)))
    assert place() == f"{tmp_path}/prime-{os.getuid()}"
    assert not (tmp_path / f"prime-{os.getuid()}").exists()  # a dry run makes nothing


def test_in_a_job_and_in_an_allocation_the_folder_is_the_jobs(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert keep_states(SETTINGS, NEEDS, Site(fast_storage=str(tmp_path)))
    assert place() == f"{tmp_path}/prime-{os.getuid()}-77"
    monkeypatch.setenv(node_cache.STORAGE, str(tmp_path / "fast"))
    monkeypatch.setenv(DEADLINE, "1")
    assert keep_states(SETTINGS, NEEDS, Site())
    assert place() == str(tmp_path / "fast" / "states")


def test_by_default_they_are_on_disk():
    assert not keep_states(parse_settings({}, "test"), NEEDS, Site())
    assert place() is None


@pytest.mark.parametrize(
    ("argv", "deadline", "nodes", "why"),
    [
        (["snakemake", "--executor", "slurm"], "", 1, "stages are jobs of their own"),
        (["snakemake", "--executor", "slurm-jobstep"], "", 1, "stages are jobs of their own"),
        (["snakemake", "--cores", "1"], "1", 1, "the allocation has no fast storage"),
        (["snakemake", "--cores", "1"], "", 2, "prm has ranks on several nodes"),
    ],
)
def test_where_other_stages_could_not_read_them_they_go_to_disk(
    argv, deadline, nodes, why, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", argv)
    if deadline:
        monkeypatch.setenv(DEADLINE, deadline)
    needs = NEEDS | {"prm": NEEDS["prm"].model_copy(update={"nodes": nodes})}
    assert not keep_states(SETTINGS, needs, Site())
    assert place() is None
    assert f"training.state_storage 'memory' has no effect: {why}" in capsys.readouterr().err


def test_a_folder_that_others_may_enter_is_refused(tmp_path):
    (tmp_path / f"prime-{os.getuid()}").mkdir(mode=0o755)
    with pytest.raises(NotPrivate, match="others may enter it"):
        keep_states(SETTINGS, NEEDS, Site(fast_storage=str(tmp_path)))


def test_a_place_that_is_not_there_is_refused_by_its_key(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"no is no folder; name one .* fast_storage"):
        keep_states(SETTINGS, NEEDS, Site(fast_storage=str(tmp_path / "no")))
