"""The status of a run as a page of text, 80 columns wide.

In: a RunStatus. Out: lines for a terminal.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from prime_core.launch.status.progress import Estimate, Progress
from prime_core.launch.status.stage_logs import last_error, last_line
from prime_core.launch.status.status import (
    ControllerState,
    RunStatus,
    StageAtWork,
    as_json,
    read_status,
)
from prime_core.runtime.text import duration, table

WIDTH = 80
_BAR = 30
_FAILED_SHOWN = 5
_COLUMNS = ("STAGE", "STATE", "JOB", "NODE", "ELAPSED", "LIMIT", "")
_SIDES = "<<><>><"


def show(run_dir: Path, json: bool, watch: bool, interval: float) -> None:
    """Print the status; with `watch` repeatedly until the run has finished."""
    while True:
        status = read_status(run_dir)
        # In a file, pages follow one another instead.
        if watch and sys.stdout.isatty():
            print("\033[2J\033[H", end="")
        print(as_json(status) if json else page(status), flush=True)
        if not watch or (status.progress and status.progress.finished):
            return
        time.sleep(interval)


def page(status: RunStatus) -> str:
    """The status as text, wrapped at WIDTH columns."""
    lines = list(_progress(status.progress, status)) if status.progress else ["not started yet"]
    controller = list(_controller(status))
    lines += ["", *controller] if controller else []
    if status.problem:
        lines.append(f"Slurm does not answer: {status.problem}")
    lines += _at_work(status.at_work)
    if status.held_back.count:
        lines.append(f"  {status.held_back.count} more wait for room in the queue:")
        lines.append(f"  {status.held_back.why}")
    lines += _failed(status)
    lines += ["", f"logs: {status.run}/logs; the newest: prime logs --run {status.run}"]
    return "\n".join(line if len(line) <= WIDTH else _wrapped(line) for line in lines)


def _progress(progress: Progress, status: RunStatus) -> Iterator[str]:
    yield _bar(progress)
    yield from _end(progress, status)
    if progress.accuracies:
        yield _accuracies(progress)


def _bar(progress: Progress) -> str:
    share = progress.done / progress.iterations if progress.iterations else 1.0
    filled = round(_BAR * share)
    bar = "#" * filled + "." * (_BAR - filled)
    state = ", finished" if progress.finished else ""
    return f"[{bar}] {progress.done} of {progress.iterations} iterations{state}"


def _end(progress: Progress, status: RunStatus) -> Iterator[str]:
    expected = status.estimate
    if progress.current:
        parts = ", ".join(f"{stage} {count}" for stage, count in progress.current.items())
        yield f"iteration {progress.done + 1}: {parts}"
    if expected is not None:
        yield _ends_at(status, expected)
    elif not progress.finished and progress.done < progress.iterations:
        yield "no estimate yet: it needs two finished iterations"


def _ends_at(status: RunStatus, expected: Estimate) -> str:
    pace = f"{duration(expected.seconds_per_iteration)} an iteration"
    span = f"{duration(expected.seconds)} left ({_span(expected)}; {pace})"
    if status.controller.state == "none":
        return f"once started again: {span}"
    return f"{span}, ends about {_clock(status.now + expected.seconds, status.now)}"


def _span(expected: Estimate) -> str:
    low, high = duration(expected.low), duration(expected.high)
    return f"{low} to {high}" if low != high else f"about {low}"


def _accuracies(progress: Progress) -> str:
    texts = []
    for figure in progress.accuracies:
        between = (
            "" if figure.low is None else f" ({figure.low:.3f} to {figure.high or figure.low:.3f})"
        )
        texts.append(f"{figure.name} {figure.value:.3f}{between} after {figure.iteration}")
    return f"accuracy: {'; '.join(texts)}"


def _controller(status: RunStatus) -> Iterator[str]:
    controller = status.controller
    if controller.state == "none" and status.progress and status.progress.finished:
        return
    if controller.state == "none":
        running = [work for work in status.at_work if work.slurm_job]
        rest = f"; {len(running)} of its Slurm jobs keep running" if running else ""
        refused = any(not failed.log for failed in status.failed)
        once = ", once Slurm takes its jobs" if refused else ""
        yield f"nothing drives this run{rest}: start it again with the same command{once}"
        if controller.log:
            log = Path(controller.log)
            yield f"  the last controller: {last_error(log) or last_line(log)}"
            yield f"  its log: {controller.log}"
        return
    yield f"controller: {_who(controller)}, {controller.state}{_times(controller, status.now)}"
    if controller.waits_for:
        yield f"  {controller.waits_for}"
    if controller.log:
        yield f"  log: {controller.log}"


def _who(controller: ControllerState) -> str:
    node = f" on {controller.node}" if controller.node else ""
    if controller.slurm_job:
        kind = "one allocation, " if controller.way == "allocation" else ""
        return f"{kind}Slurm job {controller.slurm_job}{node}"
    return f"process {controller.pid}{node}"


def _times(controller: ControllerState, now: float) -> str:
    if controller.since is None:
        return f", expected to start {_start(controller.starts)}" if controller.starts else ""
    since = f" since {_clock(controller.since, now)}"
    if controller.left is None:
        return since
    return f"{since}; time limit in {duration(controller.left)}, then it requeues itself"


def _at_work(stages: list[StageAtWork]) -> list[str]:
    if not stages:
        return []
    reasons = dict.fromkeys(work.waits_for for work in stages if work.waits_for)
    return ["", *table([_COLUMNS, *map(_row, stages)], _SIDES), *(f"  {one}" for one in reasons)]


def _row(work: StageAtWork) -> tuple[str, ...]:
    notes = [f"attempt {work.attempt}"] if work.attempt > 1 else []
    if work.state == "pending":
        notes.append(work.reason)
        if (start := _start(work.starts)) != "at an unknown time":
            notes.append(f"starts {start}")
    return (
        str(work.stage)[:22],
        work.state[:10],
        work.slurm_job or "-",
        (work.nodes or "-")[:10],
        duration(work.seconds) if work.seconds >= 0 and work.state != "pending" else "-",
        duration(work.limit) if work.limit >= 0 else "-",
        ", ".join(notes),
    )


def _failed(status: RunStatus) -> Iterator[str]:
    if not status.failed:
        return
    yield ""
    for failed in status.failed[-_FAILED_SHOWN:]:
        how = f" ({failed.how})" if failed.how else ""
        yield f"not finished: {failed.stage}{how}"
        yield f"  {failed.error or 'nothing in its log'}"
        if failed.log:
            yield f"  {failed.log}"
    more = len(status.failed) - _FAILED_SHOWN
    if more > 0:
        yield f"  and {more} more"


def _start(text: str) -> str:
    """Slurm's expected start as local time."""
    try:
        when = time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return "at an unknown time"
    return _clock(when, time.time())


def _clock(when: float, now: float) -> str:
    """Local time, with the day where that is not today."""
    same_day = time.localtime(when)[:3] == time.localtime(now)[:3]
    return time.strftime("%H:%M" if same_day else "%a %d %b %H:%M", time.localtime(when))


def _wrapped(line: str) -> str:
    """Wrap at WIDTH columns; words such as paths stay whole."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    lines, here = [], ""
    for word in line.split(" "):
        if here.strip() and len(here) + 1 + len(word) > WIDTH:
            lines.append(here)
            here = indent + word
        else:
            here = f"{here} {word}" if here else word
    return "\n".join([*lines, here])
