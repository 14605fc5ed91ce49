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
from prime_core.runtime.cores import num_cores

if TYPE_CHECKING:
    from benchmarks.cheats import Attempt, Problem

LIMIT_SECONDS = 6.0
TEXTS = 5  # of a family, beside the best one: they take about a second each
OWN_FAMILIES = ("own numbers", "one own number", "gold, changed")  # another text for each problem


def judge_beside(
    attempts: list[Attempt],
    problems: dict[str, list[Problem]],
    sample: int,
    workers: int | None,
) -> None:
    """Fill in `theirs` of some texts that are the same for all problems (`chosen`).

    sample: problems of each benchmark, drawn with a fixed seed.
    """
    golds = {
        name: _parsed([problem.gold for problem in random.Random(0).sample(rows, sample)])
        for name, rows in problems.items()
    }
    some = chosen(attempts)
    with (
        ThreadPoolExecutor(workers or num_cores()) as pool,
        progress_bar(len(some), "text", "math-verify") as bar,
    ):
        tasks = [(attempt.text, golds[attempt.benchmark]) for attempt in some]
        for attempt, found in zip(some, pool.map(lambda task: share(*task), tasks), strict=True):
            attempt.theirs = found
            bar.update()


def chosen(attempts: list[Attempt]) -> list[Attempt]:
    """Of each family on each benchmark: our best text, and TEXTS more at equal distances."""
    families: dict[tuple[str, str], list[Attempt]] = {}
    for attempt in attempts:
        if attempt.family not in OWN_FAMILIES:
            families.setdefault((attempt.benchmark, attempt.family), []).append(attempt)
    some = []
    for family in families.values():
        best = max(family, key=lambda attempt: (attempt.fails, attempt.right))
        others = family[:: max(1, len(family) // TEXTS)][:TEXTS]
        some += [best, *(attempt for attempt in others if attempt is not best)]
    return some


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
