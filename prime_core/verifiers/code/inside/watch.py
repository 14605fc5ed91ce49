"""What a program and everything it started use: read from /proc, summed over the whole tree.

A program chooses its own name and when its processes end, may close its memory to readers, and
may let its first thread die: so all is read as bytes, and what cannot be seen is no proof of
innocence.
"""

import os
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
# What one socket of a pair may keep on its way: the kernel's default limit and its last message.
SOCKET_BYTES = 256 << 10
# Fields of proc(5)'s stat, counted from the third one.
STATE, OWN_TICKS, REAPED_TICKS, NUM_THREADS, STARTED, RESIDENT = 0, (11, 12), (13, 14), 17, 19, 21


@dataclass(frozen=True)
class Usage:
    """Sums over a tree: processes and threads, resident bytes, seconds of processor time."""

    tasks: int
    resident: int
    cpu_seconds: float


def everyone_else() -> list[int]:
    """All processes of this pid namespace but ourselves: inside the sandbox, the program's."""
    names = [entry.name for entry in os.scandir("/proc")]
    return [int(name) for name in names if name.isdigit() and name != "1"]


def descendants(ancestor: int) -> list[int]:
    """All processes below one; used where there is no pid namespace."""
    found: list[int] = []
    waiting = [ancestor]
    while waiting:
        parent = waiting.pop()
        try:
            children = [
                int(child)
                for thread in os.scandir(f"/proc/{parent}/task")  # each lists its own forks
                for child in Path(thread.path, "children").read_bytes().split()
            ]
        except OSError:
            continue  # it ended while we looked
        found += children
        waiting += children
    return found


def status(path: str) -> list[bytes]:
    """The fields of <path>/stat from the third on; none where the process has ended."""
    try:
        # After the last bracket: a program chooses its name, which may hold blanks, brackets, line
        # ends and bytes that are no text.
        fields = Path(path, "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []
    return fields if len(fields) > RESIDENT else []


def living_thread(process: int) -> str:
    """Where in /proc the memory of a process shows: its first thread, or one that outlives it.

    Of a process whose first thread has ended, /proc/<pid> shows a zombie that holds nothing.
    """
    path = f"/proc/{process}"
    fields = status(path)
    if fields and fields[STATE] == b"Z" and int(fields[NUM_THREADS]) > 1:
        try:
            threads = [thread.path for thread in os.scandir(f"{path}/task")]
        except OSError:
            return path
        living = [one for one in threads if status(one)[:1] not in ([], [b"Z"], [b"X"])]
        return living[0] if living else path
    return path


class Watcher:
    """Usage of one program over time: it remembers the processes that have ended."""

    def __init__(self) -> None:
        self.last_ticks: dict[tuple[int, bytes], int] = {}  # by process and its start

    def usage(self, processes: list[int]) -> Usage:
        """The sums for these processes, with the processor time of those seen earlier.

        Of the children that a parent waits for, the kernel keeps the sum; of those whose end it
        ignores, nobody does but us.
        """
        tasks, resident, own, reaped = 0, 0, 0, 0
        for process in processes:
            fields = status(f"/proc/{process}")
            if not fields:
                continue
            ticks = sum(int(fields[i]) for i in OWN_TICKS)
            self.last_ticks[process, fields[STARTED]] = ticks
            own += ticks
            reaped += sum(int(fields[i]) for i in REAPED_TICKS)
            tasks += int(fields[NUM_THREADS])
            if fields[STATE] == b"Z" and int(fields[NUM_THREADS]) > 1:
                fields = status(living_thread(process)) or fields
            resident += int(fields[RESIDENT]) * PAGE
        # Not their sum: children that were waited for are in both.
        ticks = max(own + reaped, sum(self.last_ticks.values()))
        return Usage(tasks, resident, ticks / TICK)


def proportional_memory(processes: list[int]) -> int:
    """Resident bytes with each shared page counted once: exact, but slower to read.

    PermissionError where a process does not let itself be read.
    """
    total = 0
    for process in processes:
        try:
            lines = Path(living_thread(process), "smaps_rollup").read_bytes().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith(b"Pss:"))
    return total


def socket_memory() -> int:
    """Bytes that the sockets of this network namespace may hold, where no process shows them."""
    lines = Path("/proc/net/protocols").read_bytes().splitlines()
    return SOCKET_BYTES * sum(int(line.split()[2]) for line in lines if line.startswith(b"UNIX"))
