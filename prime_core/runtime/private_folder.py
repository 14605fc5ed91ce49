"""A folder that belongs to this user alone, in a place that all users of a machine share.

In: a path, as in /dev/shm. Out: the folder, created where it was missing. What is read from there
is unpickled, that is executed: files that another user could have put there are refused.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


class NotPrivate(PermissionError):
    """Others own the folder, or may write into it."""


def private_folder(path: Path) -> Path:
    """Create a folder with mode 0700, or check one that exists; returns it.

    Raises NotPrivate, and OSError where it can be neither.
    """
    if not path.parent.exists():
        private_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    require_private(path)
    return path


def require_private(path: Path) -> None:
    """Raise NotPrivate unless a path is a folder, no link, that this user alone can enter."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotPrivate(f"{path}: is a link or a file; expected a folder of this user's")
    if found.st_uid != os.getuid():
        raise NotPrivate(f"{path}: belongs to user {found.st_uid}, not to {os.getuid()}")
    if found.st_mode & 0o077:
        raise NotPrivate(
            f"{path}: others may enter it (mode {stat.S_IMODE(found.st_mode):04o}); expected 0700"
        )
    for parent in path.resolve().parents:
        mode = parent.stat().st_mode
        # Without the sticky bit (/tmp, /dev/shm) anybody could put another folder in its place.
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise NotPrivate(f"{path}: anybody may rename what is in {parent}")
