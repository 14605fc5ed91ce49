"""What the console shows of a run beside its stages' own lines.

In: the files of a run. Out: one line when an iteration has finished, with a clock, the share done
and the time left; one for a long stage in the middle of its work; one that says the result.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

from prime_core.launch.status.progress import estimate, read_progress
from prime_core.launch.status.stage_logs import last_line
from prime_core.run.layout import RunFiles, in_order
from prime_core.run.stages import stage_of
from prime_core.runtime.text import duration
from prime_core.settings.run import Settings

# Figures of an iteration: the stage that writes it, its name, how it is said.
_FIGURES = (
    ("select", "rollout/accuracy", "{:.1%} right"),
    ("select", "filter/kept_share", "{:.0%} kept"),
    ("score", "prm/ranking_accuracy", "PRM ranks {:.0%}"),
    ("policy", "actor/entropy", "entropy {:.2f}"),
)
# A bar as tqdm writes it: "sft:  45%|####      | 630/1400 [00:20<00:25, 30.1step/s]".
_BAR = re.compile(r"(\d+)%\|[^|]*\| *(\d+)/(\d+) \[[\d:]+<([\d:]+|\?)")


def clock(now: float) -> str:
    """The time of day: "17:05:12"."""
    return time.strftime("%H:%M:%S", time.localtime(now))


def iteration_line(settings: Settings, files: RunFiles, iteration: int, now: float) -> str:
    """An iteration that has finished: how far the run is, how long it will take, its figures."""
    done = (iteration - settings.start) / len(settings.own_iterations)
    line = f"{clock(now)}  iteration {iteration}/{settings.iterations}, {100 * done:.0f} % done"
    left = estimate(read_progress(files), now)
    if left is not None:
        line += f", {duration(left.seconds)} left"
    figures = [
        said.format(value).replace("%", " %")
        for stage, name, said in _FIGURES
        if (value := _read(files.metrics(iteration, stage)).get(name)) is not None
    ]
    return f"{line}: {', '.join(figures)}" if figures else line


def stage_line(log: Path, logs: Path, now: float) -> str | None:
    """A stage in the middle of its work, by the progress bar in its log; None without one."""
    bar = _BAR.search(last_line(log))
    if bar is None or bar[2] == bar[3]:
        return None
    left = "" if bar[4] == "?" else f", {bar[4]} left"
    return f"{clock(now)}  {stage_of(log.relative_to(logs))}: {bar[2]} of {bar[3]}{left}"


def result_line(settings: Settings, files: RunFiles, seconds: float) -> str:
    """What the run has reached, how long this start took, and where to read on."""
    found = "; ".join(_results(settings, files))
    result = f": {found}" if found else ""
    return f"finished in {duration(seconds)}{result}\n{files.report}"


def _results(settings: Settings, files: RunFiles) -> Iterator[str]:
    for name in settings.evaluation.benchmarks:
        paths = in_order((files.root / "evaluations").glob(f"*/{name}.json"))
        last = _read(paths[-1]) if paths else {}
        if "accuracy" not in last:
            continue
        said = f"{100 * last['accuracy']:.1f} %"
        if "accuracy_low" in last:
            low, high = (100 * last[f"accuracy_{end}"] for end in ("low", "high"))
            said += f" [{low:.1f}, {high:.1f}]"
        first, after = (int(paths[at].parent.name) for at in (0, -1))
        over, before = f"iteration {after}", _read(paths[0])
        if after > first and "accuracy" in before:
            said = f"{100 * before['accuracy']:.1f} % -> {said}"
            over = f"iterations {first} to {after}"
        yield f"accuracy on {name} {said}, {over}"


def _read(path: Path) -> dict[str, float]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
