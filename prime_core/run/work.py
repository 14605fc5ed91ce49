"""What every stage does around its own work: open the run, label its line, report figures."""

from __future__ import annotations

from pathlib import Path

from prime_core.run.atomic import write_json
from prime_core.run.layout import RunFiles
from prime_core.runtime.console import say
from prime_core.runtime.rank import is_first_rank
from prime_core.runtime.stopwatch import Metrics
from prime_core.runtime.usage import process_usage
from prime_core.settings.reading import load_settings
from prime_core.settings.run import Settings


def open_run(run_dir: Path) -> tuple[Settings, RunFiles]:
    """Settings and files of a run's folder. Raises SettingsError when it is not one."""
    files = RunFiles(run_dir)
    return load_settings(files.config), files


def finish(metrics_path: Path, metrics: Metrics, line: str) -> None:
    """Write a stage's figures and print its one line; the first rank does it for all of them."""
    if is_first_rank():
        write_json(metrics_path, metrics | process_usage())
        say(line)


def progress_label(iteration: int, settings: Settings) -> str:
    """How a stage's line begins: "iteration 3/12"."""
    return f"iteration {iteration}/{settings.iterations}"
