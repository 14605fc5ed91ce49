"""The client: asks the server to run a stage, and stands for it until it ends.

Imports the standard library alone: a client takes some 0.04 s and 10 MB. Why a stage starts by
itself is said on standard error, that is in its log.
"""

from __future__ import annotations

import contextlib
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
_LOST = protocol.REASONS[protocol.ENGINE_LOST]
# The server is still importing when the first stages ask.
_SECONDS_TO_AN_ANSWER = 120.0


def hand_over() -> None:
    """Let the server run this command and end as it ends; return where it has to run here."""
    path = os.environ.get(protocol.SOCKET, "none")
    if path != "none" and sys.argv[1:2] and _is_stage(sys.argv[1]):
        let_run(path)


def let_run(path: str) -> None:
    """Let the server at a socket run whatever command this is; return where it cannot."""
    word = "again"
    while word == "again" and (asked := _ask(path)) is not None:
        connection, signals = asked
        word, number = _result(connection, signals)
        connection.close()
        _end_as(word, number)


def _is_stage(command: str) -> bool:
    return (STAGES / f"{command.replace('-', '_')}.py").is_file()


def _ask(path: str) -> tuple[socket.socket, _Signals] | None:
    """A connection to the child that runs this command, and its signals; None: run it here."""
    connection, signals = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), None
    try:
        connection.settimeout(_SECONDS_TO_AN_ANSWER)
        connection.connect(path)
        _require_own(connection)
        request = _request()
        signals = _Signals()  # before it is sent: a kept engine begins at once
        protocol.send_request(connection, request, [0, 1, 2, *_held_descriptors()])
    except OSError as error:
        _say_cold(error.strerror or str(error))
        connection.close()
        if signals:
            signals.restore()
        return None
    return connection, signals


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


class _Signals:
    """Hands this process's signals on to the child that stands for it."""

    def __init__(self) -> None:
        self.child, self.told = 0, list[int]()
        self._before = {number: signal.signal(number, self._take) for number in _FORWARDED}

    def reach(self, child: int) -> None:
        """From now on they go to this process, those that came early included."""
        self.child = child
        for number in self.told:
            self._send(number)

    def restore(self) -> None:
        """As before; those that came meanwhile, and reached no child, come now."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        for early in () if self.child else self.told:
            os.kill(os.getpid(), early)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if not self.child and number == signal.SIGINT:
            os._exit(128 + number)  # the end of the connection is the end of the child
        self.told.append(number)  # the stage may have a handler for it
        if self.child:
            self._send(number)

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, number)


def _result(connection: socket.socket, signals: _Signals) -> tuple[str, int]:
    """How the child ended; meanwhile signals are handed on to it.

    ("cold", 0) where the stage has to be run here: the server refused, was gone before it forked,
    or an engine was lost; ("again", 0) where another engine is needed than the one that is kept.
    """
    keeps_engine, word, number, reason = False, "", 0, "it has ended"
    try:
        for word, number in protocol.lines(connection):
            if word not in ("pid", "engine"):
                break
            keeps_engine = word == "engine"
            connection.settimeout(None)
            signals.reach(number)
            word = ""
    except OSError as error:
        reason = error.strerror or str(error)
    if word not in ("", "cold", "again"):
        return word, number
    if not word and signals.child and not keeps_engine:
        return "lost", 0
    if signals.child and signals.told:  # asked to stop: nothing is begun again
        return "status", 128 + signals.told[-1]
    if word != "again":
        _say_cold(protocol.REASONS[number] if word else _LOST if keeps_engine else reason)
    signals.restore()
    return word or "cold", 0


def _end_as(word: str, number: int) -> None:
    """End as the child did; returns where the stage has yet to be run."""
    if word in ("cold", "again"):
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
