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

from . import control_group, jail, kernel, run, seccomp, watch

# A program may be over its memory limit for so long: docs/verification.md says so.
WATCH_SECONDS = 0.02
MAX_PACKET = 1 << 16
MAX_DESCRIPTORS = 8
NUM_DESCRIPTORS = 256
JAILED = b"j"
# A handler, or the default of most, would let a signal from somewhere end the server.
IGNORED = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
)


class Server:
    """State of the server between programs: the host's socket and how programs are walled in."""

    def __init__(self, host: socket.socket, user: int, *, isolated: bool) -> None:
        self.host, self.user, self.isolated = host, user, isolated
        self.group: control_group.Group | None = None
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
            if packet == b"group":
                self.take_group(descriptors)
                continue
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

    def take_group(self, descriptors: list[int]) -> None:
        """Run the programs in this control group from now on, if that works; say how it went."""
        group = control_group.Group(*descriptors)
        failure = group.try_out()
        if failure:
            for fd in descriptors:
                os.close(fd)
        else:
            self.group = group
        self.host.send(json.dumps({"failure": failure}).encode())

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
            for number in (signal.SIGCHLD, *IGNORED):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # as Python starts
            if self.group:
                self.group.enter()
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
        watcher = watch.Watcher()
        spent_before = self.group.cpu_seconds() if self.group else 0.0
        reason, peak, cpu_seconds = "", 0, 0.0
        while not reason:
            ready = {fd for fd, _ in events.poll(WATCH_SECONDS * 1000)}
            drain(self.wakeup)
            ended, status, spent = os.wait4(child, os.WNOHANG)
            if ended:
                break
            if self.host.fileno() in ready:
                reason = "stopped"  # the host wants no more of it, or is gone
                continue
            if time.monotonic() - started > job["wall"]:
                reason = "wall"
                continue
            try:
                now = watcher.usage(self.processes(child))
                cpu_seconds = now.cpu_seconds
                if self.group:
                    cpu_seconds = max(cpu_seconds, self.group.cpu_seconds() - spent_before)
                reason, resident = self.broken_limit(child, job, now, cpu_seconds)
            except Exception as error:
                # Of whatever makes a look at a program fail, it is the program that must end.
                reason, resident = f"unwatched: {type(error).__name__}: {error}"[:500], 0
            peak = max(peak, resident)
        else:
            # In its namespace it is process 1: the kernel ends all the others with it.
            os.kill(child, signal.SIGKILL)
            _, status, spent = os.wait4(child, 0)
        if not self.isolated:
            end_everyone(job["folder"])
        exit_code = os.waitstatus_to_exitcode(status)
        cpu_seconds = max(cpu_seconds, spent.ru_utime + spent.ru_stime)
        if exit_code == -signal.SIGKILL and not reason and cpu_seconds > job["cpu"]:
            reason = "cpu"  # RLIMIT_CPU: it ignored the signal that comes first
        return {
            "reason": reason,
            "exit_code": exit_code,
            "seconds": time.monotonic() - started,
            "cpu_seconds": cpu_seconds,
            "peak_bytes": max(peak, spent.ru_maxrss << 10),
        }

    def processes(self, child: int) -> list[int]:
        """The program's process and all that it started."""
        if self.isolated:
            return watch.everyone_else()
        return [child, *watch.descendants(os.getpid())]

    def broken_limit(
        self, child: int, job: dict[str, Any], now: watch.Usage, cpu_seconds: float
    ) -> tuple[str, int]:
        """The limit that the program has broken by now ("" if none), and its resident memory."""
        if cpu_seconds > job["cpu"]:
            return "cpu", now.resident
        if now.tasks > job["processes"]:
            return "processes", now.resident
        # Outside of the walls, the sockets are everybody's.
        hidden = watch.socket_memory() if self.isolated else 0
        if now.resident + hidden > job["memory"]:
            # The quick sum counts a shared page once a process, so it may be too high.
            try:
                exact = watch.proportional_memory(self.processes(child)) + hidden
            except PermissionError:  # it has closed its memory to readers
                return "memory", now.resident + hidden
            return ("memory" if exact > job["memory"] else ""), exact
        return "", now.resident + hidden


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
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
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
