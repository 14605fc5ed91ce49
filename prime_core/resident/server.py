"""The server: imports what stages import, then forks one child a request.

prime_core.cli.serve is its program, started by prime_core.resident.starting; it ends when its
standard input does. A fork is right only while this process has stayed simple: it computes
nothing, has one thread, no process group, no CUDA. Each is checked before each fork.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from prime_core.resident import protocol
from prime_core.resident.client import peer_user
from prime_core.resident.engines import Engines
from prime_core.resident.import_state import import_state
from prime_core.resident.leaving import exit_status
from prime_core.runtime.collector import collector_paused

_MODULES = (
    "torch",
    "transformers",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.models.qwen2.modeling_qwen2",
    "transformers.generation.utils",
    "deepspeed",
)
STANDARD_INPUT = 0
_CHANGED = (
    "stages start by themselves from now on, some seconds each: this project's files or the "
    "installed packages have changed since the run began; the same command, given again, helps\n"
)
_SECONDS_FOR_A_REQUEST = 10.0
_SECONDS_FOR_THE_FIRST_FORK = 60.0


class CannotFork(Exception):
    """A child of this process would not be what a fresh process is."""


class Server:
    """Children by process id, each with the connection to its client."""

    def __init__(
        self,
        listener: socket.socket,
        state: str,
        program: Callable[[], object],
        folder: Path,
        console: int,
    ) -> None:
        """state: digest of what this process has imported; program: what a child runs; folder: of
        the socket, and of files by which ranks meet; console: descriptor of the workflow's.
        """
        self.listener, self.state, self.program = listener, state, program
        self.children: dict[int, socket.socket] = {}
        self.threads, self.console = number_of_threads(), console
        self.engines = Engines(folder, self._fork_worker)
        self._woken, self._waker = socket.socketpair()

    def serve(self) -> None:
        """Answer clients until standard input ends. Running children then go on by themselves."""
        for end in (self._woken, self._waker):
            end.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ends = [self.listener.fileno(), self._woken.fileno(), STANDARD_INPUT]
            channels = self.engines.channels
            ready, _, _ = select.select([*ends, *channels], [], [])
            # Before new requests, which may be for workers that have just become free.
            for channel in channels.keys() & set(ready):
                self.engines.hear(channels[channel])
            if self._woken.fileno() in ready:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
                self._reap()
            if self.listener.fileno() in ready:
                connection, _ = self.listener.accept()
                self._answer(connection)
            if STANDARD_INPUT in ready and not os.read(STANDARD_INPUT, 1):
                return

    def _answer(self, connection: socket.socket) -> None:
        descriptors: list[int] = []
        try:
            if peer_user(connection) != os.getuid():
                raise CannotFork("asked by another user")
            connection.settimeout(_SECONDS_FOR_A_REQUEST)
            request, descriptors = protocol.receive_request(connection)
            connection.settimeout(None)
            if request.state != self.state:
                self._say_what_changed()
                raise CannotFork("asked with other code or environment")
            require_simple(self.threads)
        except (CannotFork, protocol.ProtocolError, OSError) as refusal:
            print(f"refused: {refusal}", file=sys.stderr, flush=True)
            protocol.send_line(connection, "cold", protocol.OTHER_STATE)
            connection.close()
        else:
            if not self.engines.take(request, connection, descriptors):
                self._fork(request, connection, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _say_what_changed(self) -> None:
        """Once: the rest of the run is slower for it. Other variables are one stage's own case."""
        if self.console and import_state(os.environ) != self.state:
            with contextlib.suppress(OSError):
                os.write(self.console, _CHANGED.encode())
            os.close(self.console)
            self.console = 0

    def _fork(
        self, request: protocol.Request, connection: socket.socket, descriptors: list[int]
    ) -> None:
        pid = os.fork()
        if pid:
            self.children[pid] = connection
            return
        self._close_what_is_others()
        from prime_core.resident.child import become

        become(request, connection, descriptors, self.program)

    def _fork_worker(
        self,
        channel: socket.socket,
        servers_end: socket.socket,
        meeting_place: Path,
        request: protocol.Request,
        connection: socket.socket,
        descriptors: list[int],
    ) -> int:
        """A process that keeps its engine: its id. channel: its end, to the server."""
        pid = os.fork()
        if pid == 0:
            servers_end.close()
            self._close_what_is_others()
            from prime_core.resident.worker import become_worker

            become_worker(channel, request, connection, descriptors, self.program, meeting_place)
        return pid

    def _close_what_is_others(self) -> None:
        """In a fork: a copy of another client's connection would hide that its child has died."""
        for other in (self.listener, self._woken, self._waker, *self.children.values()):
            other.close()
        for other in self.engines.open_sockets:
            other.close()
        if self.console:  # whoever reads it waits until the last one has closed it
            os.close(self.console)

    def _reap(self) -> None:
        """Collect ended children, and tell the clients of those that a signal ended."""
        self.engines.reap()
        for pid in list(self.children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                connection = self.children.pop(pid)
                if os.WIFSIGNALED(status):
                    protocol.send_line(connection, "signal", os.WTERMSIG(status))
                connection.close()


def require_simple(threads: int) -> None:
    """Raise CannotFork where a child could hang or inherit what is not its own.

    threads: how many this process had when it had just imported everything.
    """
    if threading.active_count() > 1:
        raise CannotFork("a Python thread is running")
    if number_of_threads() > threads:
        raise CannotFork("a library has started threads: their pool would hang a child")
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        raise CannotFork("a process group is open: a child's collectives would hang")
    if torch.cuda.is_initialized() or _has_device_open():
        raise CannotFork("CUDA is initialised: no child could use a GPU")


def require_working_forks() -> None:
    """Raise CannotFork unless a first child computes with all its threads.

    An import that used a thread pool leaves children that wait forever for its threads; one that
    initialised CUDA leaves children that cannot use a GPU.
    """
    if "torch" not in sys.modules:
        return
    pid = os.fork()
    if pid == 0:
        signal.alarm(int(_SECONDS_FOR_THE_FIRST_FORK))
        os._exit(exit_status(_compute))
    if os.waitpid(pid, 0)[1] != 0:
        raise CannotFork("a first child did not come back from a matrix product")


def _compute() -> None:
    import torch

    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices:
        matrix = torch.ones(512, 512, device=device)
        assert (matrix @ matrix).sum().item() == 512.0**3


def number_of_threads() -> int:
    """Of this process, those of libraries included."""
    return len(list(Path("/proc/self/task").iterdir()))


def _has_device_open() -> bool:
    """Whether a CUDA context was made behind torch's back: only that opens this device."""
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(path.readlink()).startswith("/dev/nvidia-uvm"):
                return True
    return False


def import_libraries() -> None:
    """Import what most of a stage's start is spent on."""
    # Else torch asks the driver itself whether there are GPUs, which spoils every child.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    for name in _MODULES:
        import_module(name)


def run(
    listening: int,
    path: Path,
    console: int,
    program: Callable[[], object],
    prepare: Callable[[], object],
) -> None:
    """Serve on an inherited listening socket with that path, until standard input ends.

    console: inherited descriptor of the workflow's standard error; program: what a child runs;
    prepare: called once, so that no child has to.
    """
    os.set_inheritable(console, False)
    # Slurm signals every process of a job; this one ends with its standard input.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    try:
        with socket.socket(fileno=listening) as listener:
            state = import_state(os.environ)
            with collector_paused():
                prepare()
            gc.collect()
            gc.freeze()  # the collector would write to, and so copy, every page of a child
            server = Server(listener, state, program, path.parent, console)
            require_working_forks()
            server.serve()
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)
