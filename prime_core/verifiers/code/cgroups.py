"""Control groups (cgroup v2) for judged programs, where this process may make them.

With one, the kernel itself holds a program's memory, in whatever form it is held, and the number
of its processes; without, the watcher does (inside/watch.py), every 20 ms and as far as memory
shows. A control group can be made where one is delegated to the user (systemd-run --user --scope
-p Delegate=yes, a Slurm job whose site delegates its control group) and by root. Which of the two
it is: docs/verification.md.
"""

import contextlib
import functools
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

CONTROLLERS = {"memory", "pids"}
PREFIX = "prime-judge-"
LEAF = "prime-processes"
TRIES = 5  # processes may fork while they are moved
# The kernel's own memory for a program (page tables, pipes, sockets), and the libraries that it is
# the first to read.
MARGIN = 64 << 20
GOODBYE_SECONDS = 2.0

numbers = itertools.count()


def words(file: Path) -> set[str]:
    """The words in a file of the kernel's; none where it cannot be read."""
    try:
        return set(file.read_text().split())
    except OSError:
        return set()


def own_group() -> tuple[Path, Path] | None:
    """The folder of this process's control group and the root that it lies below, if any."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    for line in mounts:
        fields, _, kind = line.partition(" - ")
        root, mounted_at = fields.split()[3:5]
        if path is None or kind.split()[0] != "cgroup2" or "/.." in path:
            continue
        inside = os.path.relpath(path, root)
        if not inside.startswith(".."):
            return Path(mounted_at, inside), Path(mounted_at)
    return None


def writable(group: Path) -> bool:
    """Whether we may make groups in this one and move processes into and out of it."""
    return os.access(group, os.W_OK) and os.access(group / "cgroup.procs", os.W_OK)


@functools.cache
def parent_group() -> Path | None:
    """The group in which ours can be made, each with limits on memory and processes."""
    found = own_group()
    if found is None:
        return None
    own, top = found
    own = own.resolve()
    for group in (own, *own.parents):
        if not group.is_relative_to(top):
            break
        if writable(group) and words(group / "cgroup.subtree_control") >= CONTROLLERS:
            return group
    # Where nothing is prepared, only a group that was given to this user is ours to rearrange.
    if writable(own) and own.stat().st_uid == os.geteuid() and make_room(own):
        return own
    return None


def make_room(group: Path) -> bool:
    """Whether limits below this group could be allowed, its processes being moved into a leaf.

    A group with processes in it hands no controller on: cgroups(7), "no internal processes".
    """
    if not words(group / "cgroup.controllers") >= CONTROLLERS:
        return False
    try:
        for _ in range(TRIES):
            with contextlib.suppress(OSError):  # EBUSY: there are processes in it
                (group / "cgroup.subtree_control").write_text("+memory +pids")
                return True
            (group / LEAF).mkdir(exist_ok=True)
            for process in words(group / "cgroup.procs"):
                with contextlib.suppress(ProcessLookupError):
                    (group / LEAF / "cgroup.procs").write_text(process)
    except OSError:
        pass
    # As it was: the leaf has the same limits, but nobody else expects it.
    with contextlib.suppress(OSError):
        for process in words(group / LEAF / "cgroup.procs"):
            (group / "cgroup.procs").write_text(process)
        (group / LEAF).rmdir()
    return False


def remove_abandoned(parent: Path) -> None:
    """Remove the groups of judges that were killed: else their parent could not be removed."""
    for group in parent.glob(f"{PREFIX}*"):
        owner = group.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            with contextlib.suppress(OSError):  # of another host's or container's process: in use
                group.rmdir()


class ProgramGroup:
    """The control group of the programs of one sandbox."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.limits: tuple[int, int] | None = None
        folder.mkdir()

    def set_limits(self, memory: int, processes: int) -> None:
        """Hold the next program to so many bytes and processes with threads."""
        if self.limits == (memory, processes):
            return
        (self.folder / "memory.max").write_text(str(memory + MARGIN))
        (self.folder / "pids.max").write_text(str(processes + 2))
        # Swap would be beyond that; and of a program that is over it, no part may go on.
        for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
            if (self.folder / name).exists():
                (self.folder / name).write_text(value)
        self.limits = (memory, processes)

    @contextlib.contextmanager
    def opened(self) -> Iterator[list[int]]:
        """Descriptors of cgroup.procs and cpu.stat, for the server (inside/control_group.py)."""
        processes = os.open(self.folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        usage = os.open(self.folder / "cpu.stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield [processes, usage]
        finally:
            os.close(processes)
            os.close(usage)

    def close(self) -> None:
        """Remove the group once its last process has gone."""
        deadline = time.monotonic() + GOODBYE_SECONDS
        while self.folder.exists():
            try:
                self.folder.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    return  # remove_abandoned() will
                time.sleep(0.01)


def new_group() -> ProgramGroup | None:
    """A control group for the programs of one more sandbox; None where none can be had."""
    parent = parent_group()
    if parent is None:
        return None
    remove_abandoned(parent)
    try:
        return ProgramGroup(parent / f"{PREFIX}{os.getpid()}-{next(numbers)}")
    except OSError:  # cgroup.max.descendants, or it was taken from us
        return None
