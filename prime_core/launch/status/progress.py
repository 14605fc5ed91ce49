"""How far a run has come, and when it will end, read from its files alone.

In: a run's folder. Out: iterations done, the newest figures, seconds an iteration.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prime_core.run.layout import RunFiles, in_order
from prime_core.run.stages import STAGES, Stage, result_of, stages_of_an_iteration
from prime_core.settings.reading import load_settings
from prime_core.settings.run import Settings

# Only the newest tell the pace: runs get slower as responses get longer.
_ITERATIONS_TO_JUDGE_BY = 20


@dataclass(frozen=True)
class Figure:
    """An accuracy, with its confidence interval where there is one."""

    name: str
    iteration: int
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Progress:
    """done: of `iterations`, a branch's origin included; ended_at: when each finished iteration of
    this run's own ended, seconds since 1970; current: stage -> parts done; max_gpu_hours: budget.
    """

    iterations: int
    done: int
    finished: bool
    ended_at: list[float]
    current: dict[str, str]
    accuracies: list[Figure]
    max_gpu_hours: float | None = None


@dataclass(frozen=True)
class Estimate:
    """Seconds until the last iteration ends: expected, and its likely range."""

    seconds: float
    low: float
    high: float
    seconds_per_iteration: float


def read_progress(files: RunFiles) -> Progress:
    """Progress of a run. Raises SettingsError when the folder is not a run's."""
    settings = load_settings(files.config)
    ends = []
    for iteration in settings.own_iterations:
        results = _results(files, settings, iteration)
        # Deleted metrics make Snakemake redo that iteration, and with it all later ones.
        if not all(path.exists() for path in results):
            break
        # Policy and PRM are updated side by side: the later of them ends the iteration.
        ends.append(max(path.stat().st_mtime for path in results))
    done = settings.start + len(ends)
    return Progress(
        iterations=settings.iterations,
        done=done,
        finished=done == settings.iterations and files.crate.exists(),
        ended_at=ends,
        current=_current(files, settings, done + 1) if done < settings.iterations else {},
        accuracies=_accuracies(files, settings, done),
        max_gpu_hours=settings.max_gpu_hours,
    )


def estimate(progress: Progress, now: float) -> Estimate | None:
    """Time left at the pace of the newest iterations: their median and quartiles.

    Nights in the queue hardly move those (docs/decisions.md#status-from-files). None before two
    iterations are done, and after the last.
    """
    left = progress.iterations - progress.done
    ends = progress.ended_at[-_ITERATIONS_TO_JUDGE_BY - 1 :]
    durations = [after - before for before, after in itertools.pairwise(ends)]
    if left == 0 or not durations:
        return None
    low, middle, high = quartiles(durations)
    # At most one iteration's worth, or an iteration that hangs would make the end come nearer.
    begun = min(now - ends[-1], middle)  # of the current iteration
    return Estimate(
        seconds=left * middle - begun,
        low=max(left * low - begun, 0.0),
        high=left * high - begun,
        seconds_per_iteration=middle,
    )


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _results(files: RunFiles, settings: Settings, iteration: int) -> list[Path]:
    return [files.metrics(iteration, stage) for stage in settings.trained]


def _current(files: RunFiles, settings: Settings, iteration: int) -> dict[str, str]:
    """Stages of the current iteration, in order: how many parts of each are done."""
    num_shards = files.num_shards(iteration, settings.rollout.num_shards)
    current = {}
    for name in stages_of_an_iteration(settings):
        rounds = 1 + settings.rollout.refill_rounds * STAGES[name].refills
        shards = range(num_shards * rounds)
        parts = [f"{shard:02d}" for shard in shards] if STAGES[name].shards else [""]
        results = [result_of(files, Stage(iteration, name, part)) for part in parts]
        current[name] = f"{sum(path.exists() for path in results)}/{len(results)}"
    return current


def _accuracies(files: RunFiles, settings: Settings, done: int) -> list[Figure]:
    """The newest evaluation of each benchmark, and the accuracy of the newest samples."""
    found = []
    for name in settings.evaluation.benchmarks:
        paths = in_order((files.root / "evaluations").glob(f"*/{name}.json"))
        if paths and (values := _read(paths[-1])):
            found.append(
                Figure(
                    name,
                    int(paths[-1].parent.name),
                    values["accuracy"],
                    values.get("accuracy_low"),
                    values.get("accuracy_high"),
                )
            )
    if done and "rollout/accuracy" in (values := _read(files.metrics(done, "select"))):
        found.append(Figure("sampled", done, values["rollout/accuracy"]))
    return found


def _read(path: Path) -> dict[str, float]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
