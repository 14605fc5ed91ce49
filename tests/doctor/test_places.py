"""Folders that a run writes to: writable, large enough, and where."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from huggingface_hub import constants

from prime_core.doctor import places

NOWHERE = Path("/proc/self/nowhere")  # nobody can write there, not even root
Usage = namedtuple("Usage", "total used free")


def left_behind(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))


def test_the_folder_of_results_need_not_exist_and_is_left_as_it_was(tmp_path):
    found = places.results_finding(tmp_path / "a" / "results")
    assert (found.state, left_behind(tmp_path)) == ("ok", [])


def test_a_folder_that_cannot_be_written_is_wrong_with_its_path(tmp_path, monkeypatch):
    found = places.results_finding(NOWHERE)
    assert found.state == "wrong"
    assert "/proc/self/nowhere cannot be written: /proc/self: " in found.detail
    (tmp_path / "file").touch()
    found = places.results_finding(tmp_path / "file")
    assert found.state == "wrong"
    assert "is not a folder" in found.detail
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path / "results") in places.results_finding(Path("results")).detail


@pytest.mark.parametrize(("free", "state"), [(2e9, "ok"), (5e8, "wrong")])
def test_little_disk_is_wrong(free, state, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: Usage(1e12, 0, free))
    found = places.disk_finding(tmp_path / "results")
    assert found.state == state
    assert "prime plan says" in f"{found.detail} {found.todo}"


def test_shared_memory_of_dockers_size_is_too_little_for_several_gpus(tmp_path, monkeypatch):
    memory, devices = tmp_path / "shm", tmp_path / "dev"
    for folder in (memory, devices):
        folder.mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: Usage(64e6, 0, 64e6))
    assert places.shared_memory_finding(memory, devices).state == "ok"
    (devices / "nvidiactl").touch()
    (devices / "nvidia0").touch()
    assert places.shared_memory_finding(memory, devices).state == "ok"
    (devices / "nvidia1").touch()
    found = places.shared_memory_finding(memory, devices)
    assert (found.state, found.todo.startswith("docker: --shm-size")) == ("wrong", True)
    assert places.shared_memory_finding(tmp_path / "none", devices).fails
    assert not places.shared_memory_finding(tmp_path / "none", memory).fails


def test_a_tmpdir_that_python_would_pass_over_in_silence_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    assert places.temporary_finding().state == "wrong"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert places.temporary_finding().state == "ok"


def test_the_hubs_cache_says_where_and_whether_it_may_fetch(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    found = places.hub_cache_finding()
    assert found.state == "ok"
    assert f"{tmp_path}/hub (not made yet)" in found.detail
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(NOWHERE))
    assert places.hub_cache_finding().state == "wrong"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = places.hub_cache_finding()
    assert (found.state, "HF_HUB_OFFLINE" in found.detail) == ("wrong", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert places.hub_cache_finding().state == "ok"
