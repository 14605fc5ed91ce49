"""What every stage does around its own work: open the run, label its line, report figures."""

from __future__ import annotations

from pathlib import Path

from prime_core.run.atomic import write_json
from prime_core.run.layout import RunFiles
from prime_core.run.schedule import sampling_policy
from prime_core.runtime.console import say
from prime_core.runtime.rank import is_first_rank
from prime_core.runtime.stopwatch import Metrics
from prime_core.runtime.usage import process_usage
from prime_core.settings.reading import SettingsError, load_settings
from prime_core.settings.run import Settings


def open_run(run_dir: Path) -> tuple[Settings, RunFiles]:
    """Settings and files of a run's folder. Raises SettingsError when it is not one."""
    files = RunFiles(run_dir)
    return load_settings(files.config), files


def refuse_other_iterations(run_dir: Path, stage: str, iteration: int) -> None:
    """Raise SettingsError for an iteration that the run does not have, or whose start is missing.

    For stages that a person starts: the workflow asks for those alone that can run.
    """
    settings, files = open_run(run_dir)
    first = settings.start + (stage != "evaluate")
    if not first <= iteration <= settings.iterations:
        raise SettingsError(
            f"--iteration {iteration}: {run_dir} has iterations {first} to {settings.iterations} "
            "(the setting iterations)"
        )
    used = sampling_policy(iteration, settings.rollout.lag)
    if stage == "sample" and not files.policy(used).exists():
        before = f"iteration {used}" if used else "the stages before the first iteration"
        raise SettingsError(
            f"--iteration {iteration}: the policy that it samples from is not there "
            f"({files.policy(used)}): run {before} first"
        )


def finish(metrics_path: Path, metrics: Metrics, line: str) -> None:
    """Write a stage's figures and print its one line; the first rank does it for all of them."""
    if is_first_rank():
        write_json(metrics_path, metrics | process_usage())
        say(line, of_many=metrics_path.parents[2].name == "iterations")


def progress_label(iteration: int, settings: Settings) -> str:
    """How a stage's line begins: "iteration 3/12"."""
    return f"iteration {iteration}/{settings.iterations}"
