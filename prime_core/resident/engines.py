"""The workers that keep engines, as the server sees them: which one runs a stage.

A group of workers, one a rank, belongs to one kind of stage, one run, one set of GPUs and one
environment. Its ranks live and end together: a rank that met others than those that it has met
before would wait for them forever. A group that has lost a worker is ended, and so is one whose
stage failed; that stage is then run by a process of its own.

docs/decisions.md#kept-engines
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from prime_core.resident import protocol
from prime_core.resident.worker import SAID, UNFIT

# Stages whose engines are kept; any other is a fork that ends.
STAGES = ("sample", "policy", "prm", "value")
# Variables that differ from start to start, or from rank to rank.
_EACH_START = ("_", "MASTER_ADDR", "MASTER_PORT", "OLDPWD", "PWD", "SHLVL")
_EACH_RANK = ("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK")
_LAUNCHERS = "TORCHELASTIC_"


@dataclass(frozen=True)
class Wanted:
    """What a request needs. launch: of all ranks' requests the same; "" for a stage of one rank."""

    stage: str
    devices: str
    key: str
    rank: int
    num_ranks: int
    launch: str


@dataclass(eq=False)
class Worker:
    """client: the connection to whom it works for; None: idle."""

    pid: int
    channel: socket.socket
    client: socket.socket | None


@dataclass(eq=False)
class Group:
    """Workers by rank. is_over: none of them is asked again."""

    wanted: Wanted
    meeting_place: Path
    launch: str
    workers: dict[int, Worker] = field(default_factory=dict)
    is_over: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether all of its ranks are there, and free."""
        idle = all(worker.client is None for worker in self.workers.values())
        return not self.is_over and idle and len(self.workers) == self.wanted.num_ranks


def wanted(request: protocol.Request) -> Wanted | None:
    """What the request needs; None: a stage that keeps no engine."""
    environment, stage = request.environment, (request.arguments[1:2] or [""])[0]
    numbers = [environment.get("RANK", "0"), environment.get("WORLD_SIZE", "1")]
    known = stage in STAGES and all(number.isdecimal() for number in numbers)
    if protocol.ENGINES not in environment or not known:
        return None
    rank, num_ranks = map(int, numbers)
    launch = f"{environment.get('TORCHELASTIC_RUN_ID')} {environment.get('MASTER_PORT')}"
    return Wanted(
        stage,
        environment.get("CUDA_VISIBLE_DEVICES", ""),
        _key(request, stage),
        rank,
        num_ranks,
        launch if num_ranks > 1 else "",
    )


def _key(request: protocol.Request, stage: str) -> str:
    """Digest of stage, run and environment: what an engine has been started under."""
    words = request.arguments
    run = words[words.index("--run") + 1] if "--run" in words[:-1] else ""
    parts = [stage, os.path.join(request.folder, run)]  # noqa: PTH118  a name, not a file
    for name, value in sorted(request.environment.items()):
        if name not in _EACH_START + _EACH_RANK and not name.startswith(_LAUNCHERS):
            parts.append(f"{name}={value}")
    text = "\0".join(parts)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


class Engines:
    """All groups. fork(channel, meeting_place, request, connection, descriptors): a new worker's
    process id.
    """

    def __init__(self, folder: Path, fork: Callable[..., int]) -> None:
        self.folder, self._fork = folder, fork
        self.groups: list[Group] = []
        self._numbers = count()
        self._lost: set[str] = set()  # launches one of whose ranks has failed
        self._ending: set[int] = set()  # process ids of workers that nobody asks any more

    @property
    def channels(self) -> dict[int, Worker]:
        """By descriptor: where workers say that they are free."""
        return {w.channel.fileno(): w for w in self._workers() if w.channel.fileno() >= 0}

    @property
    def open_sockets(self) -> Iterator[socket.socket]:
        """What a new fork must not keep open."""
        for worker in self._workers():
            yield worker.channel
            if worker.client is not None:
                yield worker.client

    def take(
        self, request: protocol.Request, connection: socket.socket, descriptors: Sequence[int]
    ) -> bool:
        """Let a worker run the stage; False where the stage keeps no engine."""
        want = wanted(request)
        if want is None:
            return False
        if want.launch in self._lost:
            protocol.send_line(connection, "cold", protocol.ENGINE_LOST)
            connection.close()
            return True
        group = self._group(want)
        worker = group.workers.get(want.rank)
        if worker is None:
            self._start(group, want.rank, request, connection, descriptors)
            return True
        worker.client = connection
        try:
            given = [connection.fileno(), *descriptors]
            protocol.send_request(worker.channel, request, given)
        except OSError:  # it has just ended
            self._dissolve(group, "again")
        return True

    def hear(self, worker: Worker) -> None:
        """A worker has said that it is free, or its end of the channel has closed."""
        try:
            heard = worker.channel.recv(64)
        except OSError:
            heard = b""
        if heard:
            _close(worker.client)
            worker.client = None
        else:
            worker.channel.close()

    def reap(self) -> None:
        """Collect workers that have ended, and tell the clients of those that had not finished."""
        for pid in list(self._ending):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self._ending.discard(pid)
        every = [(group, rank) for group in self.groups for rank in group.workers]
        for group, rank in every:
            if group in self.groups:  # else ended with another of its workers
                ended, status = os.waitpid(group.workers[rank].pid, os.WNOHANG)
                if ended:
                    self._has_ended(group, rank, os.waitstatus_to_exitcode(status))

    def _has_ended(self, group: Group, rank: int, status: int) -> None:
        worker = group.workers[rank]
        group.is_over = True
        if status == SAID and worker.client is not None:  # its client knows: asked to stop
            del group.workers[rank]
            _forget(worker)
            if not group.workers:
                self.groups.remove(group)
            return
        was_idle = worker.client is None
        self._dissolve(group, "again" if was_idle or status == UNFIT else "cold", {worker.pid})

    def _dissolve(self, group: Group, word: str, ended: Set[int] = frozenset()) -> None:
        """End a group; its clients are told the word. ended: processes that are gone already."""
        self.groups.remove(group)
        group.is_over = True
        busy = [worker for worker in group.workers.values() if worker.client is not None]
        for worker in group.workers.values():
            if worker.pid not in ended:
                self._ending.add(worker.pid)
                if worker in busy:
                    os.kill(worker.pid, signal.SIGKILL)
        if word == "cold" and busy:
            if group.launch:
                self._lost.add(group.launch)
            # The stage shall find what it would find without any engines.
            for other in [other for other in self.groups if other.is_idle]:
                self._dissolve(other, "")
        for worker in busy:
            assert worker.client is not None
            protocol.send_line(worker.client, word, protocol.ENGINE_LOST)
        for worker in group.workers.values():
            _forget(worker)

    def _group(self, want: Wanted) -> Group:
        """The group that runs this stage: one that has begun it, a free one, a new one."""
        for group in self.groups:
            begun = want.launch != "" and group.launch == want.launch
            if group.wanted.key == want.key and not group.is_over and begun:
                return group
        for group in [group for group in self.groups if group.is_idle]:
            if group.wanted.key == want.key and group.wanted.num_ranks == want.num_ranks:
                group.launch = want.launch
                return group
            same = group.wanted.stage == want.stage and group.wanted.devices == want.devices
            if same:  # of another run or environment: its memory is needed
                self._dissolve(group, "")
        place = self.folder / f"ranks-{next(self._numbers)}"
        group = Group(want, place, want.launch)
        self.groups.append(group)
        return group

    def _start(
        self,
        group: Group,
        rank: int,
        request: protocol.Request,
        connection: socket.socket,
        descriptors: Sequence[int],
    ) -> None:
        ours, theirs = socket.socketpair()
        pid = self._fork(theirs, ours, group.meeting_place, request, connection, descriptors)
        theirs.close()
        group.workers[rank] = Worker(pid, ours, connection)
        stage = group.wanted.stage
        print(f"process {pid} keeps the engine of {stage}", file=sys.stderr, flush=True)

    def _workers(self) -> Iterator[Worker]:
        for group in self.groups:
            yield from group.workers.values()


def _close(client: socket.socket | None) -> None:
    if client is not None:
        client.close()


def _forget(worker: Worker) -> None:
    """An idle worker ends when its channel closes."""
    with suppress(OSError):
        worker.channel.close()
    _close(worker.client)
    worker.client = None
