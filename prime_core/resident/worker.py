"""A fork of the server that runs one stage after another, and keeps an engine between them.

Each stage finds what a process of its own would find: descriptors, signals, environment, folder.
What it leaves is the engine alone (prime_core.runtime.kept). A stage that ends in any other way
than well ends this process: no engine is asked again after it has failed.

docs/decisions.md#kept-engines
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from prime_core.resident import protocol
from prime_core.resident.child import take_descriptors, take_environment, take_signals
from prime_core.resident.leaving import exit_status, finish
from prime_core.runtime import kept
from prime_core.runtime.usage import begin_usage

SAID, FAILED, UNFIT = 0, 1, 77  # exit statuses of a worker, for the server
_STOPPED = (75, *range(129, 193))  # of a stage that was asked to stop: no failure
_STAGES_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


class Worker:
    """This process, once forked. channel: to the server."""

    def __init__(self, channel: socket.socket, program: Callable[[], object]) -> None:
        self.channel, self.program = channel, program
        # Between stages nothing of the last client's may stay open: somebody may wait for its end.
        self._idle_descriptors = [os.dup(number) for number in range(3)]
        self._own: dict[str, str] = {}

    def run(
        self, request: protocol.Request, connection: socket.socket, descriptors: Sequence[int]
    ) -> NoReturn:
        """Run this stage and those that follow, until one fails or the server has gone."""
        while True:
            status = self._stage(request, connection, descriptors)
            if status:
                os._exit(SAID)
            try:
                request, received = protocol.receive_request(self.channel)
            except (protocol.ProtocolError, OSError):
                self._end()
            connection, descriptors = socket.socket(fileno=received[0]), received[1:]

    def _stage(
        self, request: protocol.Request, connection: socket.socket, descriptors: Sequence[int]
    ) -> int:
        """Run one stage and tell its client; returns its status. Does not return if it failed."""
        take_descriptors(descriptors)
        take_signals(request.ignored_signals)
        take_environment(request, self._own)
        begin_usage()
        over = threading.Event()
        watch = threading.Thread(target=_end_with, args=(connection, over), daemon=True)
        watch.start()
        protocol.send_line(connection, "engine", os.getpid())
        status = self._status()
        _ignore_signals()
        self._own = {k: v for k, v in os.environ.items() if request.environment.get(k) != v}
        self._let_go(descriptors[3:])
        over.set()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RD)  # wakes the watching thread
        watch.join()
        # The server first: the client's end may be the start of the next stage.
        if status == 0:
            protocol.send_line(self.channel, "idle")
        protocol.send_line(connection, "status", status)
        connection.close()
        return status

    def _status(self) -> int:
        """Of the stage; its engine rests. Ends this process where nothing can be told."""
        unfit = []

        def program() -> None:
            try:
                self.program()
            except kept.Unfit as reason:
                unfit.append(reason)
            except SystemExit as end:
                if end.code:
                    raise
            if not unfit:
                kept.rest()

        status = exit_status(program)
        if unfit:
            print(f"not by the kept engine: {unfit[0]}", file=sys.stderr, flush=True)
            os._exit(UNFIT)
        if status and status not in _STOPPED:
            print("the stage failed in a process that keeps engines", file=sys.stderr, flush=True)
            os._exit(FAILED)
        return status

    def _let_go(self, held: Sequence[int]) -> None:
        """Close what belongs to the client: its descriptors, its locks of GPUs."""
        sys.stdout.flush()
        sys.stderr.flush()
        clients = [_file(number) for number in range(3)]
        for number, descriptor in enumerate(self._idle_descriptors):
            os.dup2(descriptor, number)
        for descriptor in held:
            os.close(descriptor)
        # Libraries keep copies of standard error (gloo does), for whose end the client's reader
        # would wait.
        for path in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # that of the listing itself
                other = int(path.name)
                if other > 2 and _file(other) in clients and other not in self._idle_descriptors:
                    os.dup2(self._idle_descriptors[2], other)

    def _end(self) -> NoReturn:
        with suppress(Exception):
            finish()
        os._exit(SAID)


def become_worker(
    channel: socket.socket,
    request: protocol.Request,
    connection: socket.socket,
    descriptors: Sequence[int],
    program: Callable[[], object],
    meeting_place: Path,
) -> NoReturn:
    """What a fork of the server calls; connection and descriptors are its first client's."""
    try:
        os.setsid()
        kept.begin(meeting_place)
        Worker(channel, program).run(request, connection, descriptors)
    except BaseException as error:  # whatever it is, this process must not return to the server
        print(f"prime: error: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(FAILED)


def _file(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _ignore_signals() -> None:
    """Slurm signals every process of a job; this one ends with the server."""
    for number in _STAGES_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _end_with(connection: socket.socket, over: threading.Event) -> None:
    """Kill this process when its client has gone before the stage is over."""
    try:
        connection.recv(1)
    finally:
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGKILL)
