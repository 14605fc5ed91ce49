"""Judge many rows on all cores of a job, whatever happens to the workers.

In: rows of (ability, response, ground truth). Out: (index, Judgement) as they come, in any order.
Each worker is a forked process that runs one row at a time. A row that takes longer than its limit
or kills its worker is tried once more in a fresh one; then it has no verdict. The limit is held by
killing the process: a signal handler would wait for C code to return. Why no library does this:
docs/decisions.md, Evaluation.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import NamedTuple

from prime_core.runtime.cores import num_cores
from prime_core.settings.verification import Verification
from prime_core.verifiers import VERIFIERS, close
from prime_core.verifiers.verdict import Judgement, Verdict

# One death may be an accident of the machine (memory ran out); the second is the row's.
_TRIES = 2
# In which an idle worker ends its warm sandboxes; then it is killed.
_FAREWELL_SECONDS = 2.0


class Row(NamedTuple):
    """One response to judge; question: the problem, where a judge is asked."""

    ability: str
    response: str
    ground_truth: str
    question: str = ""


def judge_rows(
    rows: Sequence[Row],
    rules: Verification,
    *,
    num_workers: int | None = None,
    limit_seconds: float | None = None,
) -> Generator[tuple[int, Judgement], None, None]:
    """Judge every row once, in no particular order.

    num_workers: all cores of the job unless stated; fewer where the rows are few.
    limit_seconds: wall-clock time after which a worker is killed.
    Raises ValueError for an ability without a verifier, before anything is judged.
    """
    unknown = {row.ability for row in rows} - VERIFIERS.keys()
    if unknown:
        raise ValueError(f"no verifier for ability {sorted(unknown)}; known: {sorted(VERIFIERS)}")
    if not rows:
        return
    verifiers = [VERIFIERS[ability] for ability in {row.ability for row in rows}]
    for verifier in verifiers:
        with contextlib.suppress(Exception):  # what is broken shows as rows without a verdict
            verifier.prepare(rules)
    # One limit for all rows: it is there for those that hang, whatever the others need.
    grace = max(verifier.grace_seconds for verifier in verifiers)
    # Twice: a program whose sandbox died has all of its time again (judge_twice).
    pool = _Pool(rows, rules, limit_seconds or 2 * rules.timeout_seconds + grace)
    wanted = sum(1 / VERIFIERS[row.ability].rows_worth_a_worker for row in rows)
    try:
        pool.start(max(1, min(num_workers or num_cores(), round(wanted))))
        yield from pool.results()
    finally:
        pool.close()


class _Worker:
    """A forked process, the pipe to it, and the rows it was given and has not answered."""

    def __init__(self, rules: Verification, others: list[_Worker]) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        inherited = [self.pipe, *(other.pipe for other in others)]
        # Forked, not spawned: what prepare() loaded is there, and a new worker costs milliseconds.
        context = multiprocessing.get_context("fork")
        self.process = context.Process(
            target=_serve, args=(theirs, rules, inherited), daemon=True, name="verifier"
        )
        self.process.start()
        theirs.close()  # else a dead worker's pipe would stay open
        self.waiting: deque[int] = deque()
        self.deadline = float("inf")

    def kill(self) -> None:
        """End the process at once."""
        self.pipe.close()
        self.process.kill()
        self.process.join()


# Why not a library's pool: docs/decisions.md#judging-pool
class _Pool:
    """Hands out rows, collects judgements, replaces workers."""

    def __init__(self, rows: Sequence[Row], rules: Verification, limit_seconds: float) -> None:
        self.rows, self.rules, self.limit = rows, rules, limit_seconds
        self.queue = deque(range(len(rows)))
        self.failures = [0] * len(rows)
        self.workers: list[_Worker] = []
        self.size = 0

    def start(self, size: int) -> None:
        """Fork the workers."""
        self.size = size
        for _ in range(size):
            self._add()

    def close(self) -> None:
        """End all workers: those between rows by themselves, with their helpers."""
        # All pipes are closed before one worker is waited for: they then end at the same time.
        for worker in self.workers:
            if worker.waiting:
                # It would see its pipe closed only after its row.
                worker.process.kill()
            worker.pipe.close()
        for worker in self.workers:
            worker.process.join(_FAREWELL_SECONDS)
            worker.process.kill()
            worker.process.join()
        self.workers.clear()

    def results(self) -> Iterator[tuple[int, Judgement]]:
        """Judgements until every row has one."""
        missing = len(self.rows)
        while missing:
            for worker in self.workers:
                if not worker.waiting:
                    self._give(worker)
            nearest = min(worker.deadline for worker in self.workers)
            pipes = {worker.pipe: worker for worker in self.workers}
            ready = wait(list(pipes), max(0.0, nearest - time.monotonic()))
            for pipe in ready:
                for result in self._collect(pipes[pipe]):  # type: ignore[index]
                    missing -= 1
                    yield result
            if not ready:
                for result in self._expire():
                    missing -= 1
                    yield result

    def _add(self) -> None:
        self.workers.append(_Worker(self.rules, self.workers))

    def _give(self, worker: _Worker) -> None:
        """Send the next rows; fewer at a time near the end, so that all workers end together."""
        if not self.queue:
            worker.deadline = float("inf")
            return
        fair = max(1, len(self.queue) // (4 * self.size))
        chunk = [self.queue.popleft()]
        room = min(fair, VERIFIERS[self.rows[chunk[0]].ability].rows_in_chunk)
        while self.queue and len(chunk) < room and not self.failures[self.queue[0]]:
            if self.rows[self.queue[0]].ability != self.rows[chunk[0]].ability:
                break
            chunk.append(self.queue.popleft())
        worker.waiting.extend(chunk)
        worker.deadline = time.monotonic() + self.limit
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # wait() will see it dead
            worker.pipe.send([(index, self.rows[index]) for index in chunk])

    def _collect(self, worker: _Worker) -> Iterator[tuple[int, Judgement]]:
        """What a worker has answered by now; its replacement when it is dead."""
        try:
            while worker.pipe.poll():
                index, judgement = worker.pipe.recv()
                assert index == worker.waiting.popleft()
                # The limit is one row's, not a chunk's.
                worker.deadline = time.monotonic() + self.limit
                yield index, judgement
        except (EOFError, OSError):  # OSError: it was killed in the middle of an answer
            worker.process.join()
            yield from self._replace(worker, f"died with exit code {worker.process.exitcode}")

    def _expire(self) -> Iterator[tuple[int, Judgement]]:
        """Kill the workers whose row is past its limit."""
        now = time.monotonic()
        # An answer that waits in the pipe was in time, however late it is read.
        # A list: `_replace` changes self.workers.
        for worker in [w for w in self.workers if w.deadline <= now and not w.pipe.poll()]:
            yield from self._replace(worker, f"was killed after {self.limit:g} s")

    def _replace(self, worker: _Worker, event: str) -> Iterator[tuple[int, Judgement]]:
        """A fresh worker for a lost one. The row it was at is tried again, the others go back."""
        self.workers.remove(worker)
        worker.kill()
        lost = list(worker.waiting)
        self._add()
        if not lost:
            return
        failed, untouched = lost[0], lost[1:]
        # In front and in their order: their turn had come.
        self.queue.extendleft(reversed(untouched))
        self.failures[failed] += 1
        if self.failures[failed] < _TRIES:
            self.queue.append(failed)  # last: the machine may have recovered by then
        else:
            detail = f"the verifier's process {event}, {_TRIES} times on this row"
            yield failed, Judgement(Verdict.no_verdict, None, detail, self.limit)


def _serve(pipe: Connection, rules: Verification, inherited: list[Connection]) -> None:
    """A worker's life: judge what comes until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the parent's handler came along with the fork
    for other in inherited:  # else no worker would see its pipe close
        other.close()
    try:
        while True:
            for index, row in pipe.recv():
                pipe.send((index, judge_row(row, rules)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        with contextlib.suppress(Exception):
            close()
        os._exit(0)  # exit functions and buffers of the parent were forked along: they are not ours


def judge_row(row: Row, rules: Verification) -> Judgement:
    """One judgement in this process. An exception in a verifier is no verdict on the response."""
    start = time.perf_counter()
    try:
        judgement = VERIFIERS[row.ability].judge(row.response, row.ground_truth, rules)
    except Exception as error:
        detail = f"the verifier failed: {type(error).__name__}: {error}"[:500]
        judgement = Judgement(Verdict.no_verdict, None, detail)
    return replace(judgement, seconds=time.perf_counter() - start)
