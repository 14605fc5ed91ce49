"""Which environments run here without a network, repeat themselves from a seed, and how quickly.

    python -m benchmarks.environments            # all that are installed
    python -m benchmarks.environments gem        # those whose id begins so
    python -m benchmarks.environments =gem:game:Sokoban-v0-easy    # one

Each is asked twice for the observation of a seed, and given one action; what a package lacks, or
fetches in vain, is its fault in the last column.
"""

from __future__ import annotations

import sys
import time

from prime_core.environments.loading import installed
from prime_core.environments.process import EnvironmentFault, EnvironmentProcess, Task

SECONDS, MEMORY_MB, NUM_STEPS = 60.0, 4096, 20


def trial(process: EnvironmentProcess, name: str) -> str:
    """What is to be said of one: milliseconds a step, or its fault."""
    task = Task(name, {}, 3, 0.5)
    try:
        first = process.first(task)
        if process.first(task) != first:
            return "its first observation is another one each time"
        steps = process.replay(task, ["help"])
        if process.replay(task, ["help"]) != steps:
            return "its answers to the same action differ"
        begun = time.perf_counter()
        for number in range(NUM_STEPS):
            process.step(task, str(number), ["help"])
        return f"{1000 * (time.perf_counter() - begun) / NUM_STEPS:.2f} ms for reset and step"
    except EnvironmentFault as error:
        return str(error)[:100]


def main() -> None:
    """Try all that are asked for."""
    with EnvironmentProcess(SECONDS, MEMORY_MB) as process:
        asked = sys.argv[1:]
        exactly = [name[1:] for name in asked if name.startswith("=")]
        for name in exactly or installed():
            if exactly or name.startswith(tuple(asked) or ""):
                print(f"{name:50} {trial(process, name)}", flush=True)


if __name__ == "__main__":
    main()
