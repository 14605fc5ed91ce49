"""Jobs that a limit on queued jobs keeps from being submitted, first come, first served.

In: jobs that sbatch refused for such a limit, and those that became ready since. Out: which to try
again, and when: one for each lane, as soon as some job has ended, else once a minute. What the
limit lets through sets how many are in the queue (docs/decisions.md#limits).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

# Other jobs of the user, or of the group, may end unseen.
SECONDS_BETWEEN_TRIES = 60.0
SECONDS_BETWEEN_MESSAGES = 3600.0


@dataclass
class _Lane:
    """Jobs that the same limits count. trying: one of them is being submitted."""

    jobs: deque[Any] = field(default_factory=deque)
    trying: bool = False
    tried: float = 0.0
    said: float = -SECONDS_BETWEEN_MESSAGES
    alone: int = 0


class HeldBack:
    """The jobs of one workflow that wait for room in the queue; used by several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._lanes: dict[Hashable, _Lane] = {}

    def __len__(self) -> int:
        with self._lock:
            return sum(len(lane.jobs) + lane.trying for lane in self._lanes.values())

    def joins(self, lane: Hashable, job: Any) -> bool:
        """Put a job that has become ready behind those that wait; False: nobody waits there."""
        with self._lock:
            if lane not in self._lanes:
                return False
            self._lanes[lane].jobs.append(job)
            return True

    def refused(self, lane: Hashable, job: Any, alone: bool) -> tuple[int, bool]:
        """Keep a job that a limit has refused, in its place.

        alone: whether the user has no other job in the queue. Returns how often in a row it was
        refused so, and whether it is time to speak of the lane.
        """
        with self._lock:
            here, now = self._lanes.setdefault(lane, _Lane()), self._clock()
            # The one that was tried is the oldest; two of a lane may also be refused side by side.
            (here.jobs.appendleft if here.trying else here.jobs.append)(job)
            here.trying, here.tried = False, now
            here.alone = here.alone + 1 if alone else 0
            speak = now - here.said >= SECONDS_BETWEEN_MESSAGES
            if speak:
                here.said = now
            return here.alone, speak

    def due(self, some_job_ended: bool) -> list[tuple[Hashable, Any]]:
        """Lanes whose time has come, and of each the job to submit now."""
        with self._lock:
            now = self._clock()
            return [
                (name, self._next(lane))
                for name, lane in self._lanes.items()
                if lane.jobs
                and not lane.trying
                and (some_job_ended or now - lane.tried >= SECONDS_BETWEEN_TRIES)
            ]

    def accepted(self, lane: Hashable) -> Any | None:
        """A job of the lane got through: the next one to try; None: there is none."""
        with self._lock:
            here = self._lanes.get(lane)
            if here is None:
                return None
            here.trying = False
            if here.jobs:
                return self._next(here)
            del self._lanes[lane]
            return None

    def dropped(self) -> list[Any]:
        """Give up all that wait, since the workflow ends; returns them."""
        with self._lock:
            jobs = [job for lane in self._lanes.values() for job in lane.jobs]
            self._lanes.clear()
            return jobs

    @staticmethod
    def _next(lane: _Lane) -> Any:
        lane.trying = True
        return lane.jobs.popleft()
