"""How much one judged program may use."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one program with all that it starts; each test runs it afresh.

    seconds: processor time of one test, summed over all its processes; the clock on the wall may
        run twice as long, so that a loaded machine does not fail programs that are fast enough.
    total_seconds: wall-clock time of all tests of one program together.
    memory_mb: memory of the whole process tree, shared pages counted once.
    max_processes: processes and threads together.
    max_output_bytes: standard output, standard error and results, each.
    scratch_mb: the one folder that can be written, in memory, empty at the start of each test.
    """

    seconds: float = 6.0
    total_seconds: float = 60.0
    memory_mb: int = 1024
    max_processes: int = 32
    max_output_bytes: int = 16 << 20
    scratch_mb: int = 64

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"limit {name} must be positive, not {value!r}")

    @property
    def wall_seconds(self) -> float:
        """Wall-clock time of one test."""
        return 2 * self.seconds
