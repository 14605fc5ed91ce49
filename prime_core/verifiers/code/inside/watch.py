"""What a program and everything it started use: read from /proc, summed over the whole tree."""

import os
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")


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
                for child in Path(thread.path, "children").read_text().split()
            ]
        except OSError:
            continue  # it ended while we looked
        found += children
        waiting += children
    return found


def usage(processes: list[int]) -> Usage:
    """The sums for these processes; one that ends meanwhile counts nothing."""
    tasks, resident, ticks = 0, 0, 0
    for process in processes:
        try:
            # After the last bracket: a program chooses its name, which may hold blanks and
            # brackets. The first field is then the third of proc(5).
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])  # its own and its reaped children's
        tasks += int(fields[17])
        resident += int(fields[21]) * PAGE
    return Usage(tasks, resident, ticks / TICK)


def proportional_memory(processes: list[int]) -> int:
    """Resident bytes with each shared page counted once: exact, but slower to read."""
    total = 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return total
