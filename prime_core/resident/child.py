"""What a fork of the server does to become the process that its client stands for."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn

from prime_core.resident import protocol
from prime_core.resident.leaving import exit_status, finish
from prime_core.runtime.console import harmless

# As Python starts: it ignores these, so that a write fails with an error instead.
_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)


def become(
    request: protocol.Request,
    connection: socket.socket,
    descriptors: Sequence[int],
    program: Callable[[], object],
) -> NoReturn:
    """Run the program as a process of its own would, and tell the client how it ended."""
    status = 1
    try:
        os.setsid()
        take_descriptors(descriptors)
        take_signals(request.ignored_signals)
        take_environment(request)
        threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
        protocol.send_line(connection, "pid", os.getpid())
        status = exit_status(program)
        finish()
    except BaseException as error:  # whatever it is, this process must not return to the server
        line = harmless(f"prime: error: {type(error).__name__}: {error}")
        print(line, file=sys.stderr, flush=True)
    finally:
        # Last: a client that has been told ends, and the thread above then kills this process.
        protocol.send_line(connection, "status", status & 0xFF)
        os._exit(status & 0xFF)


def take_descriptors(descriptors: Sequence[int]) -> None:
    """Make the client's standard descriptors this process's, and hold the others."""
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
        os.close(descriptor)
    for held in descriptors[3:]:  # locks of GPUs, which this process and its ranks keep
        os.set_inheritable(held, True)
    # The stream objects stay, since loggers hold them; they decide anew when to flush.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(  # type: ignore[union-attr]
            line_buffering=stream is sys.stderr or stream.isatty()
        )


def take_signals(ignored: Sequence[int]) -> None:
    """Answer signals as a process does that has just started."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        ignore = number in ignored or number in _PYTHON_IGNORES
        signal.signal(number, signal.SIG_IGN if ignore else signal.SIG_DFL)
    if signal.SIGINT not in ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def take_environment(
    request: protocol.Request, own: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Stand where the client stands. own: variables that this process has set itself."""
    os.environ.clear()
    os.environ.update({**request.environment, **own})
    os.umask(request.umask)
    os.chdir(request.folder)
    sys.argv = list(request.arguments)
    # Each process begins with its own seeds where nothing sets any.
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def _end_with(connection: socket.socket) -> None:
    """Kill this process when its client has gone: `kill -9` of a client ends the stage."""
    try:
        connection.recv(1)
    finally:
        os.kill(os.getpid(), signal.SIGKILL)
