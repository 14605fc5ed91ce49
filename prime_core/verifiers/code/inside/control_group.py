"""The control group (cgroup v2) that programs run in, where the host could make one.

Its limits are the host's work (../cgroups.py); in here it is two open files, since behind the
walls there is no file system of control groups.
"""

import os


class Group:
    """One control group: `processes` is its cgroup.procs, `usage` its cpu.stat."""

    def __init__(self, processes: int, usage: int) -> None:
        self.descriptors = self.processes, self.usage = processes, usage

    def enter(self) -> None:
        """Move this process, and with it all that it will start, into the group."""
        os.write(self.processes, b"0")

    def cpu_seconds(self) -> float:
        """Processor time of all programs so far: also of children that nobody waited for."""
        for line in os.pread(self.usage, 4096, 0).splitlines():
            if line.startswith(b"usage_usec"):
                return int(line.split()[1]) / 1e6
        raise ValueError("cpu.stat without usage_usec")

    def try_out(self) -> str:
        """Why a child of ours cannot enter the group; "" if it can."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                self.enter()
                self.cpu_seconds()
            except BaseException as error:
                os.write(writer, f"{type(error).__name__}: {error}".encode()[:500])
            os._exit(0)
        os.close(writer)
        failure = os.read(reader, 4096).decode(errors="replace")
        os.close(reader)
        os.waitpid(child, 0)
        return failure
