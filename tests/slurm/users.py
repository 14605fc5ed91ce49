"""The lab's ordinary user: Slurm's permissions and limits meet them, and do not meet root."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from pathlib import Path

NAME, NUMBER = "researcher", 61000


def etc_files() -> dict[str, str]:
    """This machine's passwd and group with that user, by name."""
    lines = {
        "passwd": f"{NAME}:x:{NUMBER}:{NUMBER}::/nonexistent:/bin/sh",
        "group": f"{NAME}:x:{NUMBER}:",
    }
    return {
        name: f"{Path('/etc', name).read_text().rstrip()}\n{line}\n" for name, line in lines.items()
    }


def is_known() -> bool:
    """Whether this process may become that user: it is root, inside a lab."""
    return os.geteuid() == 0 and any(entry.pw_name == NAME for entry in pwd.getpwall())


def as_user(command: Sequence[str]) -> list[str]:
    """The same command, run by that user; their own folder and variables are in environment()."""
    become = ("setpriv", f"--reuid={NUMBER}", f"--regid={NUMBER}", "--clear-groups")
    return [*become, *command]


def environment(env: Mapping[str, str], home: Path) -> dict[str, str]:
    """Variables of that user, whose home is a folder that this makes."""
    home.mkdir(parents=True, exist_ok=True)
    give(home)
    own = {"HOME": str(home), "USER": NAME, "LOGNAME": NAME, "XDG_CACHE_HOME": str(home / "cache")}
    # The checkout and its environment belong to root.
    return {**env, **own, "PYTHONDONTWRITEBYTECODE": "1"}


def give(folder: Path) -> None:
    """Give a folder, and all in it, to that user."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NUMBER, NUMBER, follow_symlinks=False)
