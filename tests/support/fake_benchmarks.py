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
