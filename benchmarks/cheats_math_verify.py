"""The texts of cheats.py judged by math-verify alone, for comparison.

As its users call it: parse() of the gold in a box, parse() of the whole response, verify(). A text
that is the same for all problems is parsed once. Each text has a process of its own that is killed
after LIMIT_SECONDS, since math-verify's own limit is a signal that C code ignores; problems that it
has not reached by then count as refused.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from prime_core.runtime.console import progress_bar
from prime_core.verifiers.pool import num_cores

if TYPE_CHECKING:
    from benchmarks.cheats import Attempt, Problem

LIMIT_SECONDS = 6.0


def judge_beside(
    attempts: list[Attempt],
    problems: dict[str, list[Problem]],
    sample: int,
    workers: int | None,
) -> None:
    """Fill in `theirs` of the texts that are the same for all problems.

    sample: problems of each benchmark, drawn with a fixed seed.
    """
    golds = {
        name: _parsed([problem.gold for problem in random.Random(0).sample(rows, sample)])
        for name, rows in problems.items()
        if len(rows) >= sample
    }
    fixed = [
        a for a in attempts if a.family not in ("own numbers", "one own number", "gold, changed")
    ]
    with (
        ThreadPoolExecutor(workers or num_cores()) as pool,
        progress_bar(len(fixed), "text", "math-verify") as bar,
    ):
        tasks = [(attempt, golds[attempt.benchmark]) for attempt in fixed]
        shares = pool.map(lambda task: share(task[0].text, task[1]), tasks)
        for attempt, found in zip(fixed, shares, strict=True):
            attempt.theirs = found
            bar.update()


def _parsed(golds: list[str]) -> list[Any]:
    from math_verify import parse

    return [parse(f"\\boxed{{{gold.strip('$')}}}", parsing_timeout=None) for gold in golds]


def share(text: str, golds: list[Any]) -> float:
    """Share of the parsed golds that math-verify accepts this response for, within the limit."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    # Forked: importing sympy takes longer than most of these questions.
    process = multiprocessing.get_context("fork").Process(
        target=_judge, args=(theirs, text, golds), daemon=True
    )
    process.start()
    theirs.close()
    deadline = time.monotonic() + LIMIT_SECONDS
    right = 0
    try:
        while ours.poll(max(0.0, deadline - time.monotonic())):
            right += ours.recv()
    except EOFError:  # all golds are done, or it died: the rest counts as refused
        pass
    finally:
        process.kill()
        process.join()
        ours.close()
    return right / len(golds)


def _judge(pipe: Connection, text: str, golds: list[Any]) -> None:
    import logging

    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)
    answer = parse(text, parsing_timeout=None)
    for gold in golds:
        try:
            pipe.send(bool(verify(gold, answer, timeout_seconds=None)))
        except Exception:  # whatever sympy raises: not accepted
            pipe.send(False)
