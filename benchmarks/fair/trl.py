"""One run of TRL's RLOOTrainer, laid out so that the report of ablations reads it as its own.

In: the run's settings, the problems and the start model of its seed's base. Out: config.yaml,
evaluations/<i>/<benchmark>.json by this project's sampler and verifier, and the run's marker.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.peers.__main__ import NO_GPU, accuracy, trl_work
from prime_core.ablations.plan import Run
from prime_core.run.atomic import write_json, write_text
from prime_core.run.layout import RunFiles
from prime_core.settings.reading import dump_settings

SCRIPT = Path(__file__).resolve().parents[1] / "peers" / "trl_run.py"


def run_trl(run: Run, base: RunFiles, benchmark: str, python: Path, log: Path) -> None:
    """Train and evaluate; an interrupted run begins again. Raises SystemExit naming the log."""
    settings, files = run.settings, RunFiles(run.settings.run_dir.resolve())
    shutil.rmtree(files.root, ignore_errors=True)
    place = files.root / "trl"
    place.mkdir(parents=True)
    write_text(files.config, dump_settings(settings))
    work = trl_work(base, place, settings.iterations, settings)
    (place / "work.json").write_text(json.dumps(work), encoding="utf-8")
    begun = time.time()
    with log.open("ab") as stream:
        done = subprocess.run(
            [str(python), str(SCRIPT), str(place / "work.json")],
            env={**os.environ, **NO_GPU},
            cwd=place,
            stdout=stream,
            stderr=stream,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{run.name} did not finish: {log}")
    weights = Path(work["weights"])
    for iteration in range(1, settings.iterations + 1):
        if iteration % settings.evaluation.every == 0 or iteration == settings.iterations:
            share = accuracy(weights / f"{iteration:04d}", base, settings, benchmark, iteration)
            write_json(files.evaluation(iteration, benchmark), {"accuracy": share})
    shutil.rmtree(weights)
    write_json(Path(run.marker), {"run": run.name, "seconds": round(time.time() - begun, 1)})
