"""The fork server: a warm interpreter that lends a fresh fork of itself to one program at a time.

It never reads a program, an input or an answer: a request is a line of limits with open
descriptors beside it, and these go to the fork. So the memory that a program inherits tells
nothing about other programs, and no program can do anything to the server (see jail.py).

Requests and replies are JSON packets on the socket that the host hands over as standard input.
"""

import contextlib
import gc
import json
import os
import resource
import select
import shutil
import signal
import socket
import tempfile
import time
from typing import Any

from . import jail, kernel, run, seccomp, watch

# A program may be over its memory limit for so long: docs/verification.md says so.
WATCH_SECONDS = 0.02
MAX_PACKET = 1 << 16
MAX_DESCRIPTORS = 8
NUM_DESCRIPTORS = 256
JAILED = b"j"


class Server:
    """State of the server between programs: the host's socket and how programs are walled in."""

    def __init__(self, host: socket.socket, user: int, *, isolated: bool) -> None:
        self.host, self.user, self.isolated = host, user, isolated
        if isolated:
            self.pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY)
            seccomp.program(os.uname().machine)  # once, for all forks
        # So that a program's end is noticed at once, not at the next check.
        self.wakeup, alarm = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(alarm, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # else no child's end would wake us
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        if not isolated:
            # Orphans become our children, where end_everyone finds them.
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)

    def serve(self) -> int:
        """Answer requests until the host is gone, then 0; in a fork, its report descriptor."""
        self.host.send(json.dumps({"ready": True}).encode())
        while True:
            packet, descriptors, _, _ = socket.recv_fds(self.host, MAX_PACKET, MAX_DESCRIPTORS)
            if not packet:
                return 0
            if packet == b"stop":
                continue  # the program ended while this was on its way
            job = json.loads(packet)
            started = time.monotonic()
            report_end, report = os.pipe()
            child = self.fork(job, descriptors, report)
            if child == 0:
                return len(descriptors)
            # With our copies open, the host would not see the program's output end.
            for fd in (report, *descriptors):
                os.close(fd)
            reply = self.wait(child, job, started)
            reply["report"] = os.read(report_end, 4096).decode(errors="replace")
            os.close(report_end)
            self.host.send(json.dumps(reply).encode())

    def fork(self, job: dict[str, Any], descriptors: list[int], report: int) -> int:
        """Fork; the child returns 0 behind its walls, the report after its other descriptors."""
        if self.isolated:
            kernel.enter_pid_namespace(self.pid_namespace)  # undo the unshare of the last program
            kernel.unshare("pid")
        else:
            job["folder"] = tempfile.mkdtemp()
        child = os.fork()
        if child:
            return child
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.host.detach()
            jail.place_descriptors([*descriptors, report])
            report = len(descriptors)
            if self.isolated:
                jail.enter(job, self.user)
            else:
                jail.enter_nothing(job)
            os.write(report, JAILED)
        except BaseException as error:
            os.write(report, f"{type(error).__name__}: {error}".encode())
            os._exit(1)
        return 0

    def wait(self, child: int, job: dict[str, Any], started: float) -> dict[str, Any]:
        """Watch the program until it ends, or end it; how it ended."""
        events = select.poll()
        events.register(self.wakeup, select.POLLIN)
        events.register(self.host, select.POLLIN)
        reason, peak = "", 0
        while not reason:
            events.poll(WATCH_SECONDS * 1000)
            drain(self.wakeup)
            ended, status, spent = os.wait4(child, os.WNOHANG)
            if ended:
                break
            reason, resident = self.broken_limit(child, job, started)
            peak = max(peak, resident)
        else:
            # In its namespace it is process 1: the kernel ends all the others with it.
            os.kill(child, signal.SIGKILL)
            _, status, spent = os.wait4(child, 0)
        if not self.isolated:
            end_everyone(job["folder"])
        return {
            "reason": reason,
            "exit_code": os.waitstatus_to_exitcode(status),
            "seconds": time.monotonic() - started,
            "cpu_seconds": spent.ru_utime + spent.ru_stime,
            "peak_bytes": max(peak, spent.ru_maxrss << 10),
        }

    def broken_limit(self, child: int, job: dict[str, Any], started: float) -> tuple[str, int]:
        """The limit that the program has broken by now ("" if none), and its resident memory."""
        if select.select([self.host], [], [], 0)[0]:
            return "stopped", 0  # the host wants no more of it, or is gone
        if time.monotonic() - started > job["wall"]:
            return "wall", 0
        processes = (
            watch.everyone_else() if self.isolated else [child, *watch.descendants(os.getpid())]
        )
        now = watch.usage(processes)
        if now.cpu_seconds > job["cpu"]:
            return "cpu", now.resident
        if now.tasks > job["processes"]:
            return "processes", now.resident
        if now.resident > job["memory"]:
            # The quick sum counts a shared page once a process, so it may be too high.
            exact = watch.proportional_memory(processes)
            return ("memory" if exact > job["memory"] else ""), exact
        return "", now.resident


def drain(descriptor: int) -> None:
    """Empty a pipe that wakes us up."""
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass


def end_everyone(folder: str) -> None:
    """Without a pid namespace: kill what the program left behind, then its folder."""
    # In rounds: a process may fork while the list is being read.
    while leftover := watch.descendants(os.getpid()):
        for process in leftover:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    shutil.rmtree(folder, ignore_errors=True)


def main(user: int, *, isolated: bool) -> None:
    """Serve on the socket that is our standard input; in a fork, run what it was given.

    A fork comes back here to run its program on a short stack and leave as any interpreter does.
    """
    kernel.die_with_parent()
    host = socket.socket(fileno=os.dup(0))
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    resource.setrlimit(resource.RLIMIT_NOFILE, (NUM_DESCRIPTORS, NUM_DESCRIPTORS))
    gc.collect()
    gc.freeze()  # a collection in a fork would write to, and so copy, every page of objects
    report = Server(host, user, isolated=isolated).serve()
    if report:
        run.run_task(report)
