"""The status of a run as a page: text of 80 columns, on a terminal in its width and with colours.

In: a RunStatus. Out: lines; or what rich shows, in place with `--watch`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Group

from prime_core.launch.status import terminal
from prime_core.launch.status.progress import Estimate, Progress
from prime_core.launch.status.stage_logs import last_error, last_line
from prime_core.launch.status.status import (
    ControllerState,
    RunStatus,
    StageAtWork,
    as_json,
    read_status,
)
from prime_core.runtime.console import show as show_text
from prime_core.runtime.text import duration, table

WIDTH = 80
_BAR = 30
_FAILED_SHOWN = 5
_COLUMNS = ("STAGE", "STATE", "JOB", "NODE", "ELAPSED", "LIMIT", "")
_SIDES = "<<><>><"


def show(run_dir: Path, json: bool, watch: bool, interval: float) -> None:
    """Print the status; with `watch` repeatedly until the run has finished."""
    view = terminal.view(watch and not json)
    with view:
        while True:
            status = read_status(run_dir)
            if json or not view.is_terminal:  # in a file pages follow one another
                show_text(as_json(status) if json else page(status))
            else:
                view.show(screen(status))
            if not watch or (status.progress and status.progress.finished):
                return
            time.sleep(interval)


def page(status: RunStatus) -> str:
    """The status as text, wrapped at WIDTH columns."""
    lines = list(_above(status))
    if status.at_work:
        lines += ["", *table([_COLUMNS, *map(_row, status.at_work)], _SIDES)]
        lines += [f"  {reason}" for reason in _reasons(status.at_work)]
    lines += [*_held_back(status), *_below(status)]
    return "\n".join(line if len(line) <= WIDTH else _wrapped(line) for line in lines)


def screen(status: RunStatus) -> Group:
    """The same for a terminal: its width, colours, and a line that a terminal wraps by itself."""
    shown = list(map(terminal.coloured, _above(status)))
    below = [terminal.coloured(line) for line in (*_held_back(status), *_below(status))]
    if not status.at_work:
        return Group(*shown, *below)
    rows = terminal.grid(_COLUMNS, map(_row, status.at_work), _SIDES)
    reasons = [terminal.coloured(f"  {reason}") for reason in _reasons(status.at_work)]
    return Group(*shown, "", rows, *reasons, *below)


def _above(status: RunStatus) -> Iterator[str]:
    """What stands above the table of stages."""
    if status.progress:
        yield from _progress(status.progress, status)
    else:
        yield "not started yet"
    controller = list(_controller(status))
    yield from ["", *controller] if controller else []
    if status.problem:
        yield f"Slurm does not answer: {status.problem}"


def _held_back(status: RunStatus) -> Iterator[str]:
    if status.held_back.count:
        yield f"  {status.held_back.count} more wait for room in the queue:"
        yield f"  {status.held_back.why}"


def _below(status: RunStatus) -> Iterator[str]:
    yield from _failed(status)
    yield ""
    yield f"logs: {status.run}/logs; the newest: prime logs --run {status.run}"


def _progress(progress: Progress, status: RunStatus) -> Iterator[str]:
    yield _bar(progress)
    yield from _end(progress, status)
    if progress.accuracies:
        yield _accuracies(progress)
    if status.gpu_hours is not None:
        yield _hours(progress, status.gpu_hours, status.max_gpu_hours)


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


def _hours(progress: Progress, spent: float, budget: float | None) -> str:
    """GPU-hours so far and, at the same rate for each iteration, at the end."""
    parts = [f"GPU-hours: {spent:,.1f} so far"]
    if budget is not None:
        parts.append(f"{budget:,g} allowed (max_gpu_hours)")
    if spent and 1 < progress.done < progress.iterations:
        parts.append(f"about {spent / progress.done * progress.iterations:,.1f} in the end")
    return ", ".join(parts)


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


def _reasons(stages: list[StageAtWork]) -> list[str]:
    """Why jobs are pending, each reason once."""
    return list(dict.fromkeys(work.waits_for for work in stages if work.waits_for))


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
