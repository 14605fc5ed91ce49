"""The walls around one program: steps that a fresh fork of the server takes before it runs.

The fork is process 1 of its own pid namespace, so it cannot name (trace, signal, read) the server
or any other program, and when it ends the kernel ends whatever it started. Here it gets its own
empty scratch folder and /proc, its limits, a user without rights and the system-call filter.
"""

import contextlib
import fcntl
import os
import platform
import resource
from pathlib import Path
from typing import Any

from . import kernel, seccomp

SCRATCH = "/tmp"
ENTRIES_PER_MB = 64  # files and folders in the scratch folder: bounds the kernel's memory for them
FIRST_FREE_FD = 64
# Files and timers of each process: bound the kernel's memory for pipes, sockets and signals.
NUM_DESCRIPTORS = 128
NUM_SIGNALS = 128


def place_descriptors(descriptors: list[int]) -> None:
    """Make these the descriptors 0, 1, 2, ... and close every other one."""
    # Out of the way first: a target may be the number of one that is still to be placed.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, FIRST_FREE_FD) for fd in descriptors]
    for number, fd in enumerate(high):
        os.dup2(fd, number)
    os.closerange(len(high), resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def counts_processes_per_namespace() -> bool:
    """Whether RLIMIT_NPROC counts inside the user namespace (Linux 5.14) or per user and host."""
    major, minor = platform.release().split(".")[:2]
    return (int(major), int("".join(c for c in minor if c.isdigit()) or 0)) >= (5, 14)


def set_limits(job: dict[str, Any], *, limit_processes: bool) -> None:
    """Kernel limits of each process; the server watches the sums over all of them."""
    address_space = job["memory"] + (256 << 20)  # code, stacks and arenas that stay untouched
    limits = {
        resource.RLIMIT_AS: address_space,
        resource.RLIMIT_FSIZE: job["scratch"],
        resource.RLIMIT_NOFILE: NUM_DESCRIPTORS,
        # Not 0: only 1 keeps the host's handler of crashes, which is fed by a pipe, away (core(5)).
        resource.RLIMIT_CORE: 1,
        resource.RLIMIT_SIGPENDING: NUM_SIGNALS,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_RTPRIO: 0,
        resource.RLIMIT_NICE: 0,
    }
    if limit_processes:
        limits[resource.RLIMIT_NPROC] = (
            job["processes"] + 2
        )  # the server, and one to be caught with
    for kind, value in limits.items():
        hard = resource.getrlimit(kind)[1]
        # Only root may raise a hard limit, e.g. one that the site has set.
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # The hard one, too: up to it the program could raise the soft one.
        resource.setrlimit(kind, (value, value))
    # Of one process, in whole seconds: for when the server, which takes the sum, is late. Soft
    # before hard: at the hard limit the kernel kills as it does when memory runs out.
    seconds, hard = int(job["cpu"]) + 2, resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard == resource.RLIM_INFINITY or hard > seconds:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def enter(job: dict[str, Any], user: int) -> None:
    """Isolate this process for good. `user` is the uid to take when the server is root."""
    # A group of its own: else a signal to process group 0 would reach the server, which this user
    # may signal and which no namespace hides from such a signal.
    os.setsid()
    kernel.unshare("mount")
    with contextlib.suppress(OSError):  # before Linux 4.6
        kernel.unshare("cgroup")  # what it is in is the host's business
    # What is mounted here must not appear in the server's namespace, however it shares mounts.
    kernel.mount("none", "/", "none", kernel.MS_REC | kernel.MS_PRIVATE)
    size = f"size={job['scratch']},nr_inodes={(job['scratch'] >> 20) * ENTRIES_PER_MB}"
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("scratch", SCRATCH, "tmpfs", flags, f"{size},mode=1777")
    mount_proc()
    os.chdir(SCRATCH)
    # when the machine runs out of memory: this one, not the server
    Path("/proc/self/oom_score_adj").write_text("1000")
    is_root = os.getuid() == 0
    # Older kernels count all of an ordinary user's processes, on the whole host; there the server's
    # count is the only limit.
    set_limits(job, limit_processes=is_root or counts_processes_per_namespace())
    # Needs CAP_SETPCAP, which goes with the user.
    kernel.drop_bounding_capabilities()
    if is_root:
        # In this order: once the user is another, groups cannot be changed.
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # changing the uid took /proc/self away
    # Last: the filter kills who mounts or unshares.
    seccomp.install()


def mount_proc() -> None:
    """/proc with the processes of this namespace only, and nothing of the machine if possible."""
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    try:
        kernel.mount("proc", "/proc", "proc", flags, "subset=pid")
    except OSError:  # before Linux 5.8
        kernel.mount("proc", "/proc", "proc", flags)


def enter_nothing(job: dict[str, Any]) -> None:
    """`sandbox: none`: a working folder and the limits, no walls."""
    os.chdir(job["folder"])
    os.setsid()
    # It would count the user's other processes, ours among them.
    set_limits(job, limit_processes=False)
