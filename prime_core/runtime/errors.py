"""An error as one sentence; a disk that takes no more is named, with the room that it has left.

In: what Python, torch and safetensors raise. Out: a sentence; OSErrors with the path.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prime_core.runtime.text import bytes_text

# EDQUOT is a user's quota, EFBIG a limit on the size of files.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# safetensors reports the system's error as text; torch's writer has lost it.
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")
_TORCH_WRITER = ("PytorchStreamWriter", "unexpected pos")


class DiskError(OSError):
    """Something could not be written, and the message says where."""


def sentence(error: BaseException) -> str:
    """What went wrong, with the file's name where the system gives one."""
    if isinstance(error, OSError) and error.strerror:
        file = f"{error.filename}: " if error.filename else ""
        where = " (the run's folder, /tmp or /dev/shm)" * (is_full(error) and not file)
        return f"{file}{error.strerror}{where}"
    return str(error) or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its kind where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def is_full(error: BaseException) -> bool:
    """Whether it is an error of a full disk, quota or file: torch's own do not mention the disk."""
    return _number_of(error) in _FULL


@contextmanager
def naming_the_disk(path: Path) -> Iterator[None]:
    """Errors of the system while something is written get its path, on a full disk the room left.

    Raises OSError in place of what libraries raise for a file that cannot be written.
    """
    try:
        yield
    except DiskError:
        raise  # an inner path has been named: that of another disk, perhaps
    except Exception as error:
        number = _number_of(error)
        if number is None:
            raise
        if isinstance(error, OSError) and number not in _FULL:
            error.filename = error.filename or str(path)
            raise
        said = os.strerror(number)
        if number in _FULL:
            said += f", {bytes_text(_free(path))} free"
        raise DiskError(number, said, str(path)) from error


def refuse_read_only(folder: Path) -> None:
    """Raise OSError naming a folder in which nothing can be written, and whose it is."""
    if not os.access(folder, os.W_OK):
        read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
        number = errno.EROFS if read_only else errno.EACCES
        whose = "" if read_only or is_own(folder) else f"; it belongs to {owner(folder)}"
        raise OSError(number, os.strerror(number) + whose, str(folder.absolute()))


def refuse_unusable(*folders: Path) -> None:
    """Raise OSError naming the first folder that cannot be written, or is no folder.

    Of a folder that is not there yet, the nearest one above it counts.
    """
    for folder in folders:
        existing = next(path for path in (folder, *folder.parents, Path()) if path.exists())
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "is a file; expected a folder", str(existing))
        refuse_read_only(existing)


def is_own(path: Path) -> bool:
    """Whether a file is this user's, or is not there yet."""
    return owner_number(path) == os.geteuid()


def owner_number(path: Path) -> int:
    """The number of a file's user; of this one where it is not there yet."""
    return path.stat().st_uid if path.exists() else os.geteuid()


def owner(path: Path) -> str:
    """The name of a file's user; the number where it has none here."""
    try:
        return path.owner()
    except KeyError:
        return str(path.stat().st_uid)


def _number_of(error: BaseException) -> int | None:
    """The system's number of an error, however it is told; None: not an error of the system."""
    if isinstance(error, OSError):
        return error.errno
    text = str(error)
    if told := _SYSTEM_ERROR.search(text):
        return int(told[1])
    return errno.ENOSPC if any(word in text for word in _TORCH_WRITER) else None


def _free(path: Path) -> int:
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free
