"""Starting the server beside a workflow, and ending it with it."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from prime_core.resident.protocol import ENGINES, SOCKET
from prime_core.runtime.console import note
from prime_core.runtime.threads import ONE_THREAD

_LONGEST_PATH = 100  # of a Unix socket: 107 bytes
_SECONDS_TO_END = 5.0


def serve_stages(way: str, here: bool, log: Path) -> None:
    """Start a server for the stages of this process, until it ends.

    way: "fork", "engines" for forks that keep sampler and trainers, or "none" for stages that start
    by themselves; here: whether they run on this machine at all. A workflow that another one
    started has that one's server.
    """
    os.environ.pop(ENGINES, None)
    if way == "engines" and here:
        os.environ[ENGINES] = "1"
    elif way == "engines":
        note("resident: engines: stages in Slurm jobs of their own keep no engines")
    if way == "none" or not here:
        os.environ[SOCKET] = "none"
    if os.environ.get(SOCKET):
        return
    try:
        atexit.register(Resident(log).stop)
    except OSError as error:
        note(f"stages start by themselves: no resident process ({error})")


class Resident:
    """A server for the stages that this process starts; they find it in their environment."""

    def __init__(self, log: Path, program: str = "prime_core.cli.serve") -> None:
        """Start it; stages wait for it while it imports.

        log: file that it writes to; program: module that serves. Raises OSError where no socket
        can be made.
        """
        self.folder = _private_folder()
        path = self.folder / "socket"
        # -P: a file random.py in the working folder must not replace Python's own
        command = [sys.executable, "-P", "-m", program]
        log.parent.mkdir(parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, log.open("ab") as out:
            listener.bind(str(path))
            listener.listen(128)
            console = os.dup(2)  # its standard error is the log
            self.process = subprocess.Popen(
                [*command, str(listener.fileno()), str(path), str(console)],
                stdin=subprocess.PIPE,
                env=os.environ | ONE_THREAD,
                stdout=out,
                stderr=out,
                pass_fds=[listener.fileno(), console],
                start_new_session=True,  # Ctrl-C is for the stages
            )
            os.close(console)
        os.environ[SOCKET] = str(path)

    def stop(self) -> None:
        """End it. Stages that still run go on."""
        os.environ.pop(SOCKET, None)
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _private_folder() -> Path:
    """A new folder, of this user alone, whose name is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="prime-"))
    if len(str(folder)) <= _LONGEST_PATH - len("/socket"):
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="prime-", dir="/tmp"))
