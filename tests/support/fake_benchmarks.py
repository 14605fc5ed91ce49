"""Made-up evaluations of a run on public benchmarks."""

from pathlib import Path

import numpy as np

from prime_core.evaluation.statistics.intervals import mean_interval
from prime_core.run.atomic import write_json
from prime_core.run.layout import RunFiles

# The row prime-592 with some of its figures moved: far above, far below, the same.
MOVED = {
    "aime24": (30, {0: 1, 4: 8}),
    "amc": (83, {0: 25, 4: 79}),
    "math500": (500, {0: 331, 2: 360, 4: 396}),
    "minerva_math": (272, {0: 89, 4: 60}),
    "olympiadbench": (675, {0: 201, 4: 284}),
    "leetcode": (180, {0: 39, 4: 60}),
}


def add_steps(run_dir: Path, f1: dict[int, float]) -> None:
    """Evaluations of steps: iteration -> F1 on the part that a threshold was not chosen on."""
    for iteration, value in f1.items():
        best = {"best_f1": 0.5, "best_f1_low": 0.4, "best_f1_high": 0.6, "best_threshold": 0.5}
        of = best | {"auc": 0.61, "right_by_luck_found": 0.25}
        counts = {"num_solutions": 400, "num_with_error": 207, "num_right_by_luck": 8}
        transferred = {"f1": value, "f1_low": value - 0.05, "f1_high": value + 0.05}
        parts = {
            name: counts | {"outcome_only": {"f1": 0.3784, "place": 0.5}, "scores": {"step": one}}
            for name, one in (("gsm8k", of), ("math", of | transferred))
        }
        place = RunFiles(run_dir).evaluation(iteration, "steps")
        write_json(place, {"benchmark": "steps", "iteration": iteration, "parts": parts})


def add_benchmark(
    run_dir: Path, name: str, num_problems: int, right: dict[int, int], **changes: float
) -> None:
    """Evaluations of one benchmark: iteration -> problems that were solved."""
    for iteration, solved in right.items():
        accuracy, low, high = mean_interval(np.arange(num_problems) < solved)
        figures = {
            "num_problems": num_problems,
            "n_samples_per_prompt": 1,
            "temperature": 0.0,
            "accuracy": accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "response_length_mean": 900.0,
            "clip_ratio": 0.01,
            "timing_s/generate": 30.0,
        }
        place = RunFiles(run_dir).evaluation(iteration, name)
        write_json(place, figures | {"benchmark": name, "iteration": iteration} | changes)


def add_moved(run_dir: Path) -> None:
    """Evaluations of MOVED."""
    for name, (num_problems, right) in MOVED.items():
        add_benchmark(run_dir, name, num_problems, right)
