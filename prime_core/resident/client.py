"""The client: asks the server to run a stage, and stands for it until it ends.

Imports the standard library alone: a client takes some 0.04 s and 10 MB. Why a stage starts by
itself is said on standard error, that is in its log.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
from pathlib import Path
from types import FrameType

from prime_core.resident import protocol
from prime_core.resident.import_state import import_state

# Only stages take long to import; any other command runs here.
STAGES = Path(__file__).parent.parent / "stages"
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# The server is still importing when the first stages ask.
_SECONDS_TO_AN_ANSWER = 120.0


def hand_over() -> None:
    """Let the server run this command and end as it ends; return where it has to run here."""
    path = os.environ.get(protocol.SOCKET, "none")
    if path != "none" and sys.argv[1:2] and _is_stage(sys.argv[1]):
        connection = _ask(path)
        if connection is not None:
            _end_as(*_result(connection))


def _is_stage(command: str) -> bool:
    return (STAGES / f"{command.replace('-', '_')}.py").is_file()


def _ask(path: str) -> socket.socket | None:
    """A connection to the child that runs this command; None: run it here."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_SECONDS_TO_AN_ANSWER)
        connection.connect(path)
        _require_own(connection)
        protocol.send_request(connection, _request(), [0, 1, 2, *_held_descriptors()])
    except OSError as error:
        _say_cold(error.strerror or str(error))
        connection.close()
        return None
    return connection


def _request() -> protocol.Request:
    os.umask(umask := os.umask(0o077))
    ignored = [n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN]
    return protocol.Request(
        arguments=sys.argv,
        folder=str(Path.cwd()),
        umask=umask,
        environment=dict(os.environ),
        ignored_signals=sorted(int(number) for number in ignored),
        state=import_state(os.environ),
    )


def _result(connection: socket.socket) -> tuple[str, int]:
    """How the child ended; meanwhile signals are handed on to it.

    ("cold", 0) where the server refused, or was gone before it forked.
    """
    child = 0
    early: list[int] = []

    def hand_on(number: int, _frame: FrameType | None) -> None:
        if child:
            os.kill(child, number)
        elif number == signal.SIGINT:
            os._exit(128 + number)  # the end of the connection is the end of the child
        else:
            early.append(number)  # the stage may have a handler for it

    before = {number: signal.signal(number, hand_on) for number in _FORWARDED}
    try:
        for word, number in protocol.lines(connection):
            if word == "pid":
                child = number
                connection.settimeout(None)
                for waiting in early:
                    os.kill(child, waiting)
            elif word == "cold":
                _say_cold("it holds other code or other settings of the environment")
                break
            else:
                return word, number
    except OSError as error:
        _say_cold(error.strerror or str(error))
    if child:
        return "lost", 0
    for number, handler in before.items():
        signal.signal(number, handler)
    return "cold", 0


def _end_as(word: str, number: int) -> None:
    """End as the child did; returns where there is none."""
    if word == "cold":
        return
    if word == "signal":
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    if word == "lost":
        print("prime: the stage's process and its server were killed", file=sys.stderr)
    os._exit(number if word == "status" else 1)


def _held_descriptors() -> list[int]:
    """Inherited regular files: locks of claimed GPUs, free once the last holder has ended."""
    held = []
    for path in Path("/proc/self/fd").iterdir():
        number = int(path.name)
        try:
            inherited = number > 2 and os.get_inheritable(number)
            if inherited and stat.S_ISREG(os.fstat(number).st_mode):
                held.append(number)
        except OSError:  # the descriptor of the listing itself
            continue
    return held


def _require_own(connection: socket.socket) -> None:
    """Raise PermissionError where another user listens: it would be handed this environment."""
    if peer_user(connection) != os.getuid():
        raise PermissionError("it belongs to another user")


def peer_user(connection: socket.socket) -> int:
    """User id of the process at the other end, as the kernel knows it."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], sys.byteorder)


def _say_cold(reason: str) -> None:
    print(f"no help from the resident process: {reason}", file=sys.stderr)
