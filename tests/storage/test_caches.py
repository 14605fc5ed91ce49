"""Caches go where the site says, or beside the run where the home cannot be written."""

import os
from pathlib import Path

import pytest

from prime_core.storage import caches


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    (folder / ".cache").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    # Root, which runs the tests in CI, may write anywhere.
    monkeypatch.setattr(os, "access", lambda *_: False)


@pytest.mark.usefixtures("home")
def test_a_home_that_can_be_written_is_left_alone():
    assert caches.chosen(None, {}) == {}


def test_a_sites_folder_takes_the_homes_place_except_where_the_user_says_otherwise(
    home, monkeypatch
):
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    found = caches.chosen("$SCRATCH/cache", {"HF_HOME": "/group/hub"})
    assert found["XDG_CACHE_HOME"] == "/scratch/me/cache"
    assert found["TRITON_CACHE_DIR"] == "/scratch/me/cache/triton"
    assert "HF_HOME" not in found
    assert caches.chosen("~/large", {})["HF_HOME"] == str(home / "large" / "huggingface")


@pytest.mark.usefixtures("home")
def test_a_read_only_home_gives_way_to_a_folder_here(monkeypatch):
    read_only(monkeypatch)
    found = caches.chosen(None, {})
    here = Path.cwd() / ".snakemake" / "caches"
    assert found["XDG_CACHE_HOME"] == str(here)
    assert found["HF_HOME"] == str(here / "huggingface")
    assert caches.chosen(None, {"XDG_CACHE_HOME": "/elsewhere"}) == {}


def test_models_that_were_fetched_into_a_read_only_home_are_read_from_there(home, monkeypatch):
    (home / ".cache" / "huggingface").mkdir()
    read_only(monkeypatch)
    found = caches.chosen(None, {})
    assert found["HF_HOME"] == str(home / ".cache" / "huggingface")
    assert found["XDG_CACHE_HOME"] != found["HF_HOME"]


def test_the_process_and_what_it_starts_get_the_variables(monkeypatch):
    for name in ("XDG_CACHE_HOME", "HF_HOME", "TRITON_CACHE_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    monkeypatch.setenv("CUDA_CACHE_PATH", "mine")
    monkeypatch.setenv("FLASHINFER_WORKSPACE_BASE", "mine")
    caches.use_caches("/scratch/cache")
    assert os.environ["HF_HOME"] == "/scratch/cache/huggingface"
    assert os.environ["CUDA_CACHE_PATH"] == "mine"
