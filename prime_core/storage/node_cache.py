"""Copies of weights in memory or on a node's own disk, read instead of the shared disk's files.

In: PRIME_FAST_STORAGE, a folder (without it nothing happens), and PRIME_FAST_STORAGE_GB, how much
it may hold. Out: `store_copy` copies the files of a finished folder of weights (not its training
state), all ranks at once; `cached_copy` gives the copy to read, as long as it matches the folder.
The shared disk's files stay the truth: a copy that is stale, incomplete or gone means only that
they are read instead.

docs/decisions.md#node-cache
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prime_core.runtime.private_folder import NotPrivate, private_folder, require_private

STORAGE = "PRIME_FAST_STORAGE"
LIMIT_GB = "PRIME_FAST_STORAGE_GB"
_BLOCK = 1 << 24
# Name, bytes, time of the last change (ns): for each file of a folder.
Listing = list[list[str | int]]
# A rank's value -> the values of all.
Gather = Callable[[Any], list[Any]]


def store_copy(
    folder: Path, number: int = 0, of: int = 1, gather: Gather = lambda value: [value]
) -> bool:
    """Copy a folder of finished weights, where there is room; whether there is a copy now.

    All ranks call it, and each copies its part: number: of this one, of: how many there are,
    gather: gives every rank the values of all. Older copies make room; those being read stay.
    Failing to copy is not an error.
    """
    storage = _storage()
    if storage is None:
        return False
    with contextlib.ExitStack() as held:
        begun = held.enter_context(_begun(storage, folder)) if number == 0 else None
        begun = gather(begun)[0]
        if begun is None:
            return False
        listing, aside = begun
        copied = all(gather(_copy_part(folder, listing, aside, number, of)))
        entry = _entry(storage, folder)
        done = number == 0 and copied and _put_in_place(folder, listing, aside, entry)
        return bool(gather(done)[0])


@contextmanager
def cached_copy(folder: Path | str) -> Iterator[Path | str]:
    """Where to read a folder of weights: its copy, kept for the block, or the folder itself."""
    storage = _storage()
    entry = _entry(storage, Path(folder)) if storage else None
    if storage is None or entry is None or not entry.is_dir():
        yield folder
        return
    try:
        require_private(storage)
    except NotPrivate as error:
        # What another user could have put there is not read, whatever it looks like.
        print(f"no copies of weights are read: {error}", file=sys.stderr)
        yield folder
        return
    with contextlib.ExitStack() as held:
        try:
            require_private(entry.parent)
            # Readers share the lock; only copies whose lock can be taken exclusively are removed.
            held.enter_context(_locked(entry / "lock", fcntl.LOCK_SH))
            copy = entry / "files" if _is_current(entry, Path(folder)) else folder
        except OSError:  # it has been removed meanwhile
            copy = folder
        if copy != folder:
            print(f"weights of {folder} are read from {copy}", file=sys.stderr)
        yield copy


def remove(storage: Path) -> None:
    """Free a storage: the end of an allocation."""
    shutil.rmtree(storage, ignore_errors=True)


def _storage() -> Path | None:
    name = os.environ.get(STORAGE)
    return Path(name) if name else None


def _entry(storage: Path, folder: Path) -> Path:
    whole = os.path.abspath(folder)  # noqa: PTH100  links are kept: each name has its own copy
    return storage / hashlib.sha256(whole.encode()).hexdigest()[:16]


def _listing(folder: Path) -> Listing:
    # Hidden files come and go: Snakemake's, and the mark of a state in memory.
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name[0] != ".")
    stats = [(path, path.stat()) for path in files]
    # Not their content: to hash weights would be to read what the copy saves reading.
    return [[path.name, s.st_size, s.st_mtime_ns] for path, s in stats]


@contextmanager
def _begun(storage: Path, folder: Path) -> Iterator[tuple[Listing, Path] | None]:
    """What is copied, and the folder to copy it into; None where nothing can be."""
    # Renamed once complete: a kill leaves a .tmp, which nobody reads and `_make_room` removes.
    aside = _entry(storage, folder).with_suffix(".tmp")
    with contextlib.ExitStack() as held:
        begun = None
        try:
            private_folder(storage)  # /dev/shm is open to all
            # One copy at a time: two that count the room at once would both find enough.
            held.enter_context(_locked(storage / "lock", fcntl.LOCK_EX))
            listing = _listing(folder)  # a folder that changes while it is copied gives no copy
            if _make_room(storage, sum(int(size) for _, size, _ in listing), folder):
                (aside / "files").mkdir(parents=True)
                for name, size, _ in listing:
                    with (aside / "files" / str(name)).open("wb") as file:
                        file.truncate(int(size))
                begun = listing, aside
            else:
                print(f"no room for a copy of {folder} in {storage}", file=sys.stderr)
        except OSError as error:
            print(f"no copy of {folder} in {storage}: {error}", file=sys.stderr)
        try:
            yield begun
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _copy_part(folder: Path, listing: Listing, aside: Path, number: int, of: int) -> bool:
    """Copy this rank's share of each file's bytes; whether that went well."""
    try:
        for name, whole, _ in listing:
            size = int(whole)
            start, end = size * number // of, size * (number + 1) // of
            with (
                (folder / str(name)).open("rb") as source,
                (aside / "files" / str(name)).open("r+b") as target,
            ):
                source.seek(start)
                target.seek(start)
                while start < end and (block := source.read(min(_BLOCK, end - start))):
                    start += target.write(block)
    except OSError as error:
        print(f"no copy of {folder} in {aside.parent}: {error}", file=sys.stderr)
        return False
    return True


def _put_in_place(folder: Path, listing: Listing, aside: Path, entry: Path) -> bool:
    try:
        if _listing(folder) != listing:
            return False
        source = {"path": str(folder), "files": listing}
        (aside / "source.json").write_text(json.dumps(source), encoding="utf-8")
        (aside / "lock").touch()
        _remove(entry)
        # Where somebody reads the old copy it is still there, and this fails: no copy, then.
        aside.rename(entry)
    except OSError as error:
        print(f"no copy of {folder} in {entry.parent}: {error}", file=sys.stderr)
        return False
    return True


def _is_current(entry: Path, folder: Path) -> bool:
    """Whether the copy has every current file of the folder, in full."""
    try:
        listing = json.loads((entry / "source.json").read_text(encoding="utf-8"))["files"]
    except (ValueError, KeyError):
        return False
    copied = [[name, size] for name, size, _ in _listing(entry / "files")]
    return listing == _listing(folder) and copied == [[name, size] for name, size, _ in listing]


def _make_room(storage: Path, size: int, coming: Path) -> bool:
    """Remove what is useless, then the oldest copies; whether `size` bytes then fit twice."""
    for leftover in storage.glob("*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    copies = sorted(storage.glob("*/source.json"), key=lambda path: path.stat().st_mtime_ns)
    for source in copies:
        path = Path(json.loads(source.read_text(encoding="utf-8"))["path"])
        # Most of the useless ones: Snakemake deletes weights once their last reader has ended.
        if path == coming or not path.is_dir() or not _is_current(source.parent, path):
            _remove(source.parent)
    for source in copies:
        if _fits(storage, size):
            return True
        if source.exists():
            _remove(source.parent)
    return _fits(storage, size)


def _fits(storage: Path, size: int) -> bool:
    used = sum(path.lstat().st_size for path in storage.rglob("*") if path.is_file())
    limit = float(os.environ.get(LIMIT_GB, "inf")) * 1e9
    # The same amount again stays free: /dev/shm is the job's own memory.
    return used + size <= limit and shutil.disk_usage(storage).free > 2 * size


def _remove(entry: Path) -> None:
    """Remove a copy, unless somebody reads it."""
    with contextlib.suppress(OSError), _locked(entry / "lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
        shutil.rmtree(entry)


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    """Hold a lock file; only the storage's own is created."""
    # A copy's lock comes with the copy: created while the copy is being removed, it would be
    # another lock than the remover's.
    create = os.O_CREAT if path.parent == _storage() else 0
    descriptor = os.open(path, os.O_RDWR | create, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
