"""Copies of weights near the processors: used when they are the same, never otherwise."""

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from prime_core.runtime.private_folder import private_folder
from prime_core.storage import node_cache


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "fast"
    monkeypatch.setenv(node_cache.STORAGE, str(place))
    monkeypatch.delenv(node_cache.LIMIT_GB, raising=False)
    return place


def weights(folder: Path, content: bytes = b"0123456789") -> Path:
    (folder / "training_state").mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(content)
    (folder / "training_state" / "optimizer.pt").write_bytes(content * 2)
    return folder


def read_from(folder: Path) -> Path:
    with node_cache.cached_copy(folder) as place:
        return Path(place)


def test_without_a_storage_nothing_is_copied(tmp_path, monkeypatch):
    monkeypatch.delenv(node_cache.STORAGE, raising=False)
    folder = weights(tmp_path / "policy")
    assert not node_cache.store_copy(folder)
    assert read_from(folder) == folder


def test_a_copy_is_read_instead_of_the_shared_files(tmp_path, storage, capfd):
    folder = weights(tmp_path / "policy")
    assert read_from(folder) == folder
    assert node_cache.store_copy(folder)
    place = read_from(folder)
    assert place.is_relative_to(storage)
    assert (place / "model.safetensors").read_bytes() == b"0123456789"
    assert not (place / "training_state").exists()  # prime_core.storage.state_memory's
    assert f"weights of {folder} are read from {place}" in capfd.readouterr().err


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize("what", ["rewritten", "longer", "file added", "file gone"])
def test_a_stale_copy_is_not_read(tmp_path, what):
    folder = weights(tmp_path / "policy")
    node_cache.store_copy(folder)
    file = folder / "model.safetensors"
    if what == "rewritten":
        file.write_bytes(b"9876543210")
    elif what == "longer":
        time = file.stat().st_mtime_ns
        file.write_bytes(b"0123456789+")
        os.utime(file, ns=(time, time))
    elif what == "file added":
        (folder / "second.safetensors").touch()
    else:
        file.unlink()
    assert read_from(folder) == folder


@pytest.mark.usefixtures("storage")
def test_what_snakemake_puts_beside_makes_no_copy_stale(tmp_path):
    folder = weights(tmp_path / "policy")
    node_cache.store_copy(folder)
    (folder / ".snakemake_timestamp").touch()
    assert read_from(folder) != folder


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize("of", [2, 3, 16])
def test_each_rank_copies_a_part(tmp_path, of):
    folder, meeting = weights(tmp_path / "policy"), Barrier(of)
    values: list[Any] = [None] * of

    def rank(number: int) -> bool:
        def gather(value: Any) -> list[Any]:
            values[number] = value
            meeting.wait()
            everybody = list(values)
            meeting.wait()
            return everybody

        return node_cache.store_copy(folder, number, of, gather)

    with ThreadPoolExecutor(of) as ranks:
        assert all(ranks.map(rank, range(of)))
    assert (read_from(folder) / "model.safetensors").read_bytes() == b"0123456789"


def test_a_storage_that_others_may_enter_is_neither_written_nor_read(tmp_path, storage, capfd):
    folder = weights(tmp_path / "policy")
    assert node_cache.store_copy(folder)
    storage.chmod(0o755)
    assert read_from(folder) == folder
    assert not node_cache.store_copy(folder)
    assert "others may enter it" in capfd.readouterr().err


@pytest.mark.usefixtures("storage")
def test_an_incomplete_copy_is_not_read(tmp_path):
    folder = weights(tmp_path / "policy")
    node_cache.store_copy(folder)
    (read_from(folder) / "model.safetensors").write_bytes(b"0123")
    assert read_from(folder) == folder


@pytest.mark.usefixtures("storage")
def test_a_copy_whose_weights_are_made_anew_is_replaced(tmp_path):
    folder = weights(tmp_path / "policy")
    node_cache.store_copy(folder)
    weights(folder, b"abcdefghij")
    assert node_cache.store_copy(folder)
    assert (read_from(folder) / "model.safetensors").read_bytes() == b"abcdefghij"


def test_the_copy_of_removed_weights_goes_away_with_the_next_one(tmp_path, storage):
    old, new = weights(tmp_path / "1" / "policy"), weights(tmp_path / "2" / "policy")
    node_cache.store_copy(old)
    for path in (old / "model.safetensors", old / "training_state" / "optimizer.pt"):
        path.unlink()
    assert node_cache.store_copy(new)
    assert len(list(storage.glob("*/source.json"))) == 1


@pytest.mark.usefixtures("storage")
def test_the_oldest_copies_make_room_but_not_those_being_read(tmp_path, monkeypatch):
    monkeypatch.setenv(node_cache.LIMIT_GB, str(3000e-9))  # one copy is 1,000 bytes and its list
    folders = [weights(tmp_path / str(i) / "policy", b"0123456789" * 100) for i in range(4)]
    node_cache.store_copy(folders[0])
    with node_cache.cached_copy(folders[0]) as read:
        assert read != folders[0]
        for folder in folders[1:]:
            node_cache.store_copy(folder)
        assert (Path(read) / "model.safetensors").exists()
    kept = [read_from(folder) != folder for folder in folders]
    assert kept[0]
    assert kept[3]
    assert not kept[1]


@pytest.mark.usefixtures("storage")
def test_weights_larger_than_the_limit_are_not_copied(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv(node_cache.LIMIT_GB, "1e-9")
    folder = weights(tmp_path / "policy")
    assert not node_cache.store_copy(folder)
    assert read_from(folder) == folder
    assert "no room" in capfd.readouterr().err


def test_a_storage_that_cannot_be_written_is_no_error(tmp_path, monkeypatch, capfd):
    (tmp_path / "file").touch()
    monkeypatch.setenv(node_cache.STORAGE, str(tmp_path / "file" / "fast"))
    folder = weights(tmp_path / "policy")
    assert not node_cache.store_copy(folder)
    assert read_from(folder) == folder
    assert "no copy" in capfd.readouterr().err


def test_what_a_killed_copy_left_is_swept_up(tmp_path, storage):
    private_folder(storage)
    (storage / "0123456789abcdef.tmp" / "files").mkdir(parents=True)
    assert node_cache.store_copy(weights(tmp_path / "policy"))
    assert not list(storage.glob("*.tmp"))


def test_the_storage_is_freed_at_the_end(tmp_path, storage):
    folder = weights(tmp_path / "policy")
    node_cache.store_copy(folder)
    node_cache.remove(storage)
    assert not storage.exists()
    assert read_from(folder) == folder


def test_a_reader_waits_for_nobody(tmp_path, storage):
    folder = weights(tmp_path / "policy")
    node_cache.store_copy(folder)
    with (storage / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # somebody else is copying
        assert read_from(folder) != folder


def test_a_storage_that_others_may_enter_is_neither_read_nor_written(tmp_path, storage, capsys):
    folder = weights(tmp_path / "policy")
    assert node_cache.store_copy(folder)
    assert read_from(folder) != folder
    storage.chmod(0o755)
    assert read_from(folder) == folder
    assert not node_cache.store_copy(folder)
    assert f"{storage}: others may enter it (mode 0755)" in capsys.readouterr().err


def test_a_storage_that_another_user_made_is_neither_read_nor_written(
    tmp_path, storage, capsys, monkeypatch
):
    folder = weights(tmp_path / "policy")
    assert node_cache.store_copy(folder)
    monkeypatch.setattr(os, "getuid", lambda: storage.stat().st_uid + 1)
    assert read_from(folder) == folder
    assert not node_cache.store_copy(folder)
    assert "belongs to user" in capsys.readouterr().err
