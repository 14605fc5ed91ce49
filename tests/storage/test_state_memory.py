"""Training states in memory: found where they belong to the weights and to this user alone."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from prime_core.run.layout import TRAINING_STATE
from prime_core.runtime.private_folder import NotPrivate, private_folder
from prime_core.storage import node_cache, state_memory


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(state_memory.PLACE, str(tmp_path / "memory" / "mine"))
    monkeypatch.delenv(node_cache.STORAGE, raising=False)
    monkeypatch.delenv(node_cache.LIMIT_GB, raising=False)
    return tmp_path / "memory" / "mine"


def in_memory(folder: Path, content: bytes = b"moments") -> Path:
    """Weights whose state is in memory; returns the entry."""
    entry = state_memory.entry_of(folder)
    assert entry is not None
    assert state_memory.takes(entry, len(content))
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (entry / TRAINING_STATE / "state").mkdir(parents=True)
    (entry / TRAINING_STATE / "state" / "rank0.pt").write_bytes(content)
    state_memory.seal(entry, folder, folder)
    return entry


def test_a_state_is_found_by_its_weights(place, tmp_path):
    entry = in_memory(tmp_path / "policy")
    assert entry.parent == place
    assert state_memory.find(tmp_path / "policy") == entry
    assert (tmp_path / "policy" / state_memory.MARK).read_text() == f"{os.uname().nodename}\n"
    # Snakemake's file is added later, and says nothing of the weights.
    (tmp_path / "policy" / ".snakemake_timestamp").touch()
    assert state_memory.find(tmp_path / "policy") == entry
    assert state_memory.find(tmp_path / "prm") is None


def test_without_a_place_nothing_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv(state_memory.PLACE, raising=False)
    assert state_memory.entry_of(tmp_path) is None
    assert state_memory.find(tmp_path) is None


@pytest.mark.parametrize(
    "name",
    ["policy/model.safetensors", "memory/mine/*/training_state/state/rank0.pt"],
)
@pytest.mark.parametrize("change", [lambda file: file.write_bytes(b"WEIGHTS"), Path.unlink])
@pytest.mark.usefixtures("place")
def test_a_state_of_other_weights_or_that_has_changed_is_not_found(tmp_path, name, change):
    in_memory(tmp_path / "policy")
    (file,) = tmp_path.glob(name)
    change(file)
    assert state_memory.find(tmp_path / "policy") is None


def test_the_folder_in_memory_is_this_users_alone(place, tmp_path):
    in_memory(tmp_path / "policy")
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    place.chmod(0o750)
    with pytest.raises(NotPrivate, match=r"mine: others may enter it \(mode 0750\)"):
        state_memory.find(tmp_path / "policy")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give folders away")
def test_a_folder_of_another_user_is_refused(place, tmp_path):
    in_memory(tmp_path / "policy")
    os.chown(place, 12345, -1)
    with pytest.raises(NotPrivate, match="mine: belongs to user 12345"):
        state_memory.find(tmp_path / "policy")


def test_a_link_in_its_place_is_refused(tmp_path):
    private_folder(tmp_path / "mine")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(NotPrivate, match="link: is a link"):
        private_folder(tmp_path / "link")


def test_a_place_where_anybody_may_rename_is_refused(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(NotPrivate, match="anybody may rename"):
        private_folder(tmp_path / "open" / "mine")
    (tmp_path / "open").chmod(0o1777)  # as /tmp
    assert private_folder(tmp_path / "open" / "mine").is_dir()


def test_a_state_beyond_the_budget_is_not_taken(place, tmp_path, monkeypatch, capfd):
    in_memory(tmp_path / "policy")
    monkeypatch.setenv(node_cache.LIMIT_GB, "1e-6")  # 1,000 bytes
    entry = state_memory.entry_of(tmp_path / "prm")
    assert entry is not None
    assert state_memory.takes(entry, 100)
    assert not state_memory.takes(entry, 1000)
    assert "no room in" in capfd.readouterr().err
    monkeypatch.delenv(node_cache.LIMIT_GB)
    assert not state_memory.takes(entry, shutil.disk_usage(place).free)


def test_what_a_killed_update_left_of_the_same_state_is_removed(place, tmp_path):
    entry = in_memory(tmp_path / "policy")
    (place / f".{entry.name}.x.tmp").mkdir()
    assert state_memory.takes(entry, 1)
    assert [path.name for path in place.iterdir()] == [entry.name]


@pytest.mark.usefixtures("place")
def test_entries_are_listed_by_run_and_forgotten_one_by_one(tmp_path):
    folders = [tmp_path / "results" / name / "policy" for name in ("one", "other")]
    for folder in folders:
        in_memory(folder)
    assert list(state_memory.entries_below(tmp_path / "results" / "one")) == [folders[0]]
    state_memory.forget(folders[0])
    assert state_memory.find(folders[0]) is None
    assert state_memory.find(folders[1])


@pytest.mark.usefixtures("place")
def test_all_files_are_copied(tmp_path):
    entry = in_memory(tmp_path / "policy")
    (entry / TRAINING_STATE / "latest").write_text("state")
    assert state_memory.copy(entry / TRAINING_STATE, tmp_path / "copy") == len("moments" + "state")
    assert (tmp_path / "copy" / "state" / "rank0.pt").read_bytes() == b"moments"
    assert (tmp_path / "copy" / "latest").read_text() == "state"
