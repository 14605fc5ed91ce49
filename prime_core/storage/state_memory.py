"""Training states in a machine's memory, from an update until the next one has loaded them.

In: PRIME_STATE_MEMORY, a folder of this user's alone (the workflow sets it where all stages run on
one machine; else every state is written to disk at once), and PRIME_FAST_STORAGE_GB, how much it
may hold. Out: for a folder of weights an entry with the training state that belongs to it. An entry
is trusted as long as its digests hold: of the weights that it was written with, and of its own
files. The copy on disk, which is made beside the next sampling, is the one that lasts.

    <memory>/<digest of the folder's path>/about.json      folder, digests
    <memory>/<digest of the folder's path>/training_state/

docs/decisions.md#states-in-memory
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from prime_core.runtime.content_digest import content_digest
from prime_core.runtime.private_folder import private_folder, require_private
from prime_core.storage.node_cache import LIMIT_GB, STORAGE

PLACE = "PRIME_STATE_MEMORY"
# In a folder of weights whose state is in memory and not yet on disk: which machine's.
MARK = ".state_in_memory"
_ABOUT = "about.json"
# Files that are copied at a time: a disk of several servers is faster than one stream.
_STREAMS = 8


def place_in(storage: Path) -> Path:
    """The folder for states in a fast storage, beside the copies of weights."""
    return storage / "states"


@contextmanager
def kept_in(place: Path) -> Iterator[None]:
    """Look for states in this folder, within the block."""
    before = os.environ.get(PLACE)
    os.environ[PLACE] = str(place)
    try:
        yield
    finally:
        os.environ.pop(PLACE)
        os.environ.update({PLACE: before} if before else {})


def entry_of(folder: Path) -> Path | None:
    """Where the training state of a folder of weights is kept; None: on disk alone."""
    name = os.environ.get(PLACE)
    if not name:
        return None
    whole = os.path.abspath(folder)  # noqa: PTH100  links are kept: each name has its own state
    return Path(name) / sha256(whole.encode()).hexdigest()[:16]


def takes(entry: Path, size: float) -> bool:
    """Whether a state of so many bytes fits; says so where it does not.

    Raises NotPrivate, OSError.
    """
    place = private_folder(entry.parent)
    for leftover in place.glob(f".{entry.name}.*"):  # of an update that was killed while it wrote
        shutil.rmtree(leftover, ignore_errors=True)
    limit = float(os.environ.get(LIMIT_GB, "inf")) * 1e9
    # The state that it replaces is still there while it is written. A quarter more stays free,
    # since this is the memory that processes live in.
    whole = Path(os.environ.get(STORAGE, place))  # copies of weights count as well
    fits = _bytes_in(whole) + size <= limit and shutil.disk_usage(place).free >= 1.25 * size
    if not fits:
        print(
            f"no room in {place} for a training state of {size / 1e9:.3g} GB: written to disk",
            file=sys.stderr,
        )
    return fits


def seal(entry: Path, folder: Path, weights: Path) -> None:
    """Complete an entry that is being written: it belongs to these weights.

    folder: of the weights, once they are in place; weights: where they are now.
    """
    about = {
        "folder": str(folder.absolute()),
        "weights": _weights_digest(weights),
        "state": content_digest(_state_files(entry)),
    }
    (entry / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
    (weights / MARK).write_text(socket.gethostname() + "\n", encoding="utf-8")


def find(folder: Path) -> Path | None:
    """The entry of a folder of weights; None where there is none that belongs to them.

    Raises NotPrivate where others could have written it.
    """
    entry = entry_of(folder)
    if entry is None or not (entry / _ABOUT).exists():
        return None
    require_private(entry.parent)
    try:
        about = json.loads((entry / _ABOUT).read_text(encoding="utf-8"))
        digests = (about["weights"], about["state"])
        same = digests == (_weights_digest(folder), content_digest(_state_files(entry)))
    except (OSError, ValueError, KeyError):
        same = False
    return entry if same else None


def copy(source: Path, target: Path) -> int:
    """Copy a training state into an empty folder, several files at a time; returns its bytes."""
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    for file in files:
        (target / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_STREAMS) as streams:
        list(streams.map(lambda f: shutil.copyfile(f, target / f.relative_to(source)), files))
    return sum(file.stat().st_size for file in files)


def forget(folder: Path) -> None:
    """Free the memory of a folder's training state."""
    entry = entry_of(folder)
    if entry is not None:
        shutil.rmtree(entry, ignore_errors=True)


def entries_below(root: Path) -> Iterator[Path]:
    """Folders of weights below a run's folder that have an entry."""
    name = os.environ.get(PLACE)
    for about in sorted(Path(name).glob(f"*/{_ABOUT}")) if name else ():
        folder = Path(json.loads(about.read_text(encoding="utf-8"))["folder"])
        if folder.is_relative_to(root.absolute()):
            yield folder


def _weights_digest(folder: Path) -> str:
    # Hidden files come and go: Snakemake's, and MARK.
    files = (path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    return content_digest(sorted(files))


def _state_files(entry: Path) -> Iterable[Path]:
    return sorted(path for path in entry.rglob("*") if path.is_file() and path.name != _ABOUT)


def _bytes_in(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
