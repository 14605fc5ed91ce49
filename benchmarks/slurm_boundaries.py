"""Seconds between the end of a stage and the start of the next, for each way to run a workflow.

A chain of jobs of assorted lengths runs on a throw-away Slurm: each a Slurm job with the plugin's
own settings, the same with our executor, and all in one allocation. Every job records when it began
and ended. `python -m benchmarks.slurm_boundaries` takes some 40 minutes; `--boundaries 4` a few.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from pathlib import Path

from tests.slurm.lab import SlurmLab
from tests.slurm.small_workflow import LOCAL, SLURM, SmallWorkflow, snakemake, wrapped

# Seconds per job; the plugin's pauses grow while a job runs.
LENGTHS = (5, 20, 10, 70, 15)
QUESTIONS = ("squeue", "sacct")
WAYS = {
    "plugin": "a Slurm job a stage, plugin's own settings",
    "profile": "a Slurm job a stage, our executor",
    "allocation": "one allocation",
}
HOUR = 3600.0


@dataclass(frozen=True)
class Measured:
    """boundaries: seconds each; questions: calls of squeue and sacct per minute."""

    boundaries: list[float]
    questions: float


def measure(way: str, lab: SlurmLab, folder: Path, num_boundaries: int) -> Measured:
    """Run the chain once. Raises CalledProcessError when it fails."""
    lengths = list(islice(cycle(LENGTHS), num_boundaries + 1))
    workflow = SmallWorkflow(folder / way, lengths, adapted=way == "profile").write()
    calls, env = folder / f"{way}-calls", dict(lab.env)
    calls.touch()
    calls.chmod(0o666)  # the workflow is an ordinary user's
    for program in QUESTIONS:
        env = wrapped(env, folder / f"{way}-bin", program, f'date >> {calls}; exec $real "$@"')
    begin = time.time()
    if way == "allocation":
        inside = f"cd {workflow.folder} && exec {shlex.join(snakemake(LOCAL))}"
        sbatch = ["sbatch", "--wait", "--mem=2000", f"--output={folder}/{way}.log"]
        command = [*sbatch, f"--wrap={inside}"]
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    else:
        own_settings = ("--executor", "slurm", "--jobs", "8")
        way_options = SLURM if way == "profile" else own_settings
        running = workflow.start("--default-resources", "mem_mb=400", env=env, way=way_options)
        if running.wait(3 * HOUR) != 0:
            raise subprocess.CalledProcessError(1, way, running.said())
    minutes = (time.time() - begin) / 60
    times = [workflow.times(number + 1) for number in range(len(lengths))]
    boundaries = [after[0] - before[1] for before, after in pairwise(times)]
    return Measured(boundaries, len(calls.read_text().splitlines()) / minutes)


def row(way: str, measured: Measured) -> str:
    """One line of the table."""
    median, most = statistics.median(measured.boundaries), max(measured.boundaries)
    return f"{WAYS[way]:<44}{median:>8.1f}{most:>9.1f}{measured.questions:>20.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--boundaries", type=int, default=20, help="boundaries measured for each way"
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, SlurmLab(Path(temporary) / "lab") as lab:
        Path(temporary).chmod(0o755)
        print(f"seconds between stages, {options.boundaries} boundaries a way")
        print(f"{'':<44}{'median':>8}{'longest':>9}{'questions a minute':>20}", flush=True)
        for way in options.ways:
            measured = measure(way, lab, Path(temporary), options.boundaries)
            print(row(way, measured), flush=True)


if __name__ == "__main__":
    main()
