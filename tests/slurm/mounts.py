"""A view of the file system of one's own: paths laid over others, for this process only.

In: which path is to lie over which. Out: nothing on the machine changes; the calling thread and
what it starts see the new paths (a Linux mount namespace, see unshare(2)). Needs root.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def laid_over(sources: Mapping[Path, Path]) -> Iterator[int]:
    """Show each value at the path of its key, in a new mount namespace; yields its number.

    May be nested. To be left by the thread that entered. Raises OSError where the system refuses.
    """
    before = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)
    try:
        _check(_LIBC.unshare(CLONE_NEWNS), "unshare")
        try:
            # Else what is mounted here would be mounted on the whole machine as well.
            _mount("none", "/", MS_REC | MS_PRIVATE)
            for target, source in sources.items():
                _mount(str(source), str(target), MS_BIND | MS_REC)
            os.chdir(Path.cwd())  # as it is seen now
            yield Path("/proc/thread-self/ns/mnt").stat().st_ino
        finally:
            _return_to(before)
    finally:
        os.close(before)


def opened(paths: Iterable[Path], spare: Path) -> dict[Path, Path]:
    """What to lay over so that every user may reach these paths, by what it lies over.

    Each folder above them that only its owner may enter, such as a home folder with the
    interpreter, is shown as an open one with the same entries, made in spare.
    """
    above = {parent for path in paths for parent in path.resolve().parents}
    closed = [folder for folder in above if folder.stat().st_mode & 0o005 != 0o005]
    sources: dict[Path, Path] = {}
    # The deepest first: it is shown through those that lie around it.
    for number, folder in enumerate(sorted(closed, key=lambda one: len(one.parts), reverse=True)):
        shown = spare / str(number)
        shown.mkdir(parents=True)
        for entry in folder.iterdir():
            place = shown / entry.name
            if entry.is_symlink():
                place.symlink_to(entry.readlink())
            else:
                place.mkdir() if entry.is_dir() else place.touch()
                sources[place] = entry
        sources[folder] = shown
    return sources


def _return_to(namespace: int) -> None:
    folder = Path.cwd()
    # Threads started meanwhile share root and current folder with this one; setns wants its own.
    _check(_LIBC.unshare(CLONE_FS), "unshare")
    _check(_LIBC.setns(namespace, CLONE_NEWNS), "setns")
    os.chdir(folder)


def _mount(source: str, target: str, flags: int) -> None:
    result = _LIBC.mount(
        source.encode(), target.encode(), None, ctypes.c_ulong(flags), ctypes.c_void_p(None)
    )
    _check(result, f"mount over {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
