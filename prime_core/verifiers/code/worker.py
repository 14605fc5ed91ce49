"""The host's end of a fork server: starts it, hands programs over, collects what they give."""

import contextlib
import fcntl
import json
import os
import selectors
import socket
import subprocess
import tempfile
import time
from typing import Any

from . import cgroups, sandbox
from .inside import codec
from .limits import Limits
from .packages import DEFAULT_PACKAGES

START_SECONDS = 60.0
GRACE_SECONDS = 15.0  # beyond a program's limit: then it is the server that hangs
KEPT_ERROR_BYTES = 4096
MANY_BYTES = 1 << 40
MANY_READS = 1000
SEALS = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, _SHRINK, _GROW, _WRITE
F_ADD_SEALS = 1033


class WorkerDied(Exception):
    """The fork server is gone, or no longer answers: nothing is known of its program."""


class Worker:
    """One fork server in its sandbox; it runs one program at a time."""

    def __init__(self, kind: str, packages: tuple[str, ...] = DEFAULT_PACKAGES) -> None:
        try:
            command = sandbox.COMMANDS[kind](packages)
        except ValueError as error:
            raise sandbox.SandboxUnavailable(str(error)) from None
        # SEQPACKET keeps messages whole, as a stream does not, and tells when the other end dies.
        self.group: cgroups.ProgramGroup | None = None
        # A file: nobody reads while the server runs, and a full pipe would stop it.
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        # SEQPACKET keeps messages whole, as a stream does not, and tells when the other end dies.
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self.process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self.errors,
                env=sandbox.environment(),
                cwd="/",
            )
        except OSError as error:
            raise sandbox.SandboxUnavailable(f"{kind}: {error}") from None
        finally:
            # With our copy open, the end of the server would never show.
            theirs.close()
        self.socket.settimeout(START_SECONDS)
        try:
            self.receive()
            self.join_group()
        except (WorkerDied, OSError) as error:
            self.close()
            raise sandbox.SandboxUnavailable(f"{kind}: {error}") from None

    def join_group(self) -> None:
        """Let the programs run in a control group, where one can be had and entered."""
        self.group = cgroups.new_group()
        if self.group is None:
            return
        with self.group.opened() as descriptors:
            socket.send_fds(self.socket, [b"group"], descriptors)
            failure = self.receive()["failure"]
        if failure:  # older kernels ask for the rights of who writes, not of who opened
            self.group.close()
            self.group = None

    def send(self, limits: Limits, wall_seconds: float, descriptors: list[int]) -> None:
        """Have a program run within these limits. OSError where the server is gone."""
        if self.group:
            scratch_too = (limits.memory_mb + limits.scratch_mb) << 20
            self.group.set_limits(scratch_too, limits.max_processes)
        order = {  # seconds, bytes, a number of processes
            "cpu": limits.seconds,
            "wall": wall_seconds,
            "memory": limits.memory_mb << 20,
            "scratch": limits.scratch_mb << 20,
            "processes": limits.max_processes,
        }
        socket.send_fds(self.socket, [json.dumps(order).encode()], descriptors)

    def receive(self) -> dict[str, Any]:
        """The next message of the server."""
        try:
            packet = self.socket.recv(1 << 16)
        except ConnectionError:
            packet = b""
        if not packet:
            raise WorkerDied(f"the sandbox exited: {self.last_words()}")
        return json.loads(packet)

    def last_words(self) -> str:
        """The last line that the server wrote on standard error."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        size = self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, size - KEPT_ERROR_BYTES))
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self.process.returncode}"

    def close(self) -> None:
        """End the server and everything behind its walls."""
        self.socket.close()
        self.process.kill()
        self.process.wait()
        self.errors.close()
        if self.group:
            self.group.close()


class Run:
    """One program on one worker: its pipes and, at the end, the server's reply."""

    def __init__(
        self,
        worker: Worker,
        task: dict[str, Any],
        limits: Limits,
        wall_seconds: float,
        *,
        stdin: bytes = b"",
        pipes: tuple[int, ...] = (),
        answers: bool = False,
        expected_bytes: int = MANY_BYTES,
    ) -> None:
        """Start it. `pipes` are descriptors to hand over; `answers` adds one that we read.

        What is judged (the answer, else standard output) cannot be right when it is far longer
        than `expected_bytes`, and is then not kept.
        """
        self.worker = worker
        self.wall_seconds = wall_seconds
        self.reply: dict[str, Any] = {}
        self.overflow = ""  # the pipe on which too much came
        self.content = {"stdout": bytearray(), "stderr": bytearray(), "answer": bytearray()}
        self.num_reads = 0
        self.num_bytes = dict.fromkeys(self.content, 0)
        names = ["stdout", "stderr", *(["answer"] if answers else [])]
        self.max_bytes = dict.fromkeys(names, limits.max_output_bytes)
        judged = "answer" if answers else "stdout"
        enough = (1 << 20) + 16 * expected_bytes
        self.max_bytes[judged] = min(self.max_bytes[judged], enough)
        ends = {name: os.pipe() for name in names}
        self.readers = {name: reader for name, (reader, _) in ends.items()}
        writers = [writer for _, writer in ends.values()]
        for descriptor in writers:
            os.fchmod(descriptor, 0o666)  # so that /dev/stdout opens for another user
        # Files, not pipes: nobody need feed them while output is being read.
        files = [sealed_file(stdin), sealed_file(json.dumps(task).encode())]
        # In this order they become 0, 1, 2, ...; run.py expects the task as the last.
        handed = [files[0], *writers, *pipes, files[1]]
        try:
            worker.send(limits, wall_seconds, handed)
        except OSError:
            self.close()
            raise WorkerDied(f"the sandbox exited: {worker.last_words()}") from None
        finally:
            # Our writing ends as well: else the pipes would never come to their end.
            for descriptor in (*files, *writers):
                os.close(descriptor)

    def read(self, name: str) -> None:
        """Take what is in one of the pipes; too much of it stops the program."""
        self.num_reads += 1
        if self.num_reads > MANY_READS:
            time.sleep(0.001)  # of output that comes in drops, more at a time
        chunk = os.read(self.readers[name], 1 << 16)
        if not chunk:
            os.close(self.readers.pop(name))
            return
        self.num_bytes[name] += len(chunk)
        if self.num_bytes[name] > self.max_bytes[name]:
            if not self.overflow:
                self.stop()
            self.overflow = name
        else:
            self.content[name] += chunk
        if name == "stderr":
            del self.content[name][:-KEPT_ERROR_BYTES]  # the exception is at the end

    def stop(self) -> None:
        """Ask the server to end the program."""
        if not self.reply:
            with contextlib.suppress(OSError):  # the next read finds the server gone
                self.worker.socket.send(b"stop")

    def answer(self) -> dict[str, Any]:
        """The message on the answer pipe. ValueError if there is none, or not a whole one."""
        if not self.content["answer"].endswith(b"\n"):
            raise ValueError("no answer")
        return codec.loads(bytes(self.content["answer"]))

    def close(self) -> None:
        """Close what is still open."""
        for descriptor in self.readers.values():
            os.close(descriptor)
        self.readers.clear()


def sealed_file(content: bytes) -> int:
    """A file in memory that nobody can write or grow any more; positioned at its start.

    A program that could write to its input would have memory there that no limit counts.
    """
    descriptor = os.memfd_create("input", os.MFD_ALLOW_SEALING)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, F_ADD_SEALS, SEALS)
    return descriptor


def collect(runs: list[Run]) -> None:
    """Read all pipes until every program has ended. When the last of `runs` ends, all must.

    Raises WorkerDied if a server ends or no longer answers.
    """
    deadline = time.monotonic() + max(run.wall_seconds for run in runs) + GRACE_SECONDS
    with selectors.DefaultSelector() as selector:
        for run in runs:
            selector.register(run.worker.socket, selectors.EVENT_READ, (run, ""))
            for name, descriptor in run.readers.items():
                selector.register(descriptor, selectors.EVENT_READ, (run, name))
        try:
            while selector.get_map():
                events = selector.select(max(0.0, deadline - time.monotonic()))
                if not events:
                    raise WorkerDied("the sandbox does not respond")
                for key, _ in events:
                    run, name = key.data
                    if name:
                        run.read(name)
                        if name not in run.readers:
                            selector.unregister(key.fileobj)
                        continue
                    run.reply = run.worker.receive()
                    selector.unregister(key.fileobj)
                    if run is runs[-1]:
                        for other in runs[:-1]:
                            other.stop()
        finally:
            for run in runs:
                run.close()
