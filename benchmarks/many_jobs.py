"""What many jobs cost the workflow itself: its graph, a restart, and the controller's memory.

`python -m benchmarks.many_jobs graph` dry-runs 600 iterations of 8 shards, then again with a part
of them finished, and starts that for real up to its first job. `memory` has the adapted executor
submit 20,000 jobs to a Slurm whose jobs are done at once, and samples its memory. No stage runs.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import yaml

from prime_core.runtime.text import duration
from tests.slurm.small_workflow import SmallWorkflow
from tests.support import instant_slurm
from tests.support.shared_data import ROOT
from tests.support.workflow_runs import TINY

SAMPLES = 20


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_jobs", description=__doc__)
    parser.add_argument("what", choices=("graph", "memory"))
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--finished", type=int, default=244, help="iterations, at the restart")
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs of the memory's measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prime-many-jobs-") as folder:
        if options.what == "graph":
            graph(Path(folder), options.iterations, options.shards, options.finished)
        else:
            memory(Path(folder), options.jobs)


def graph(folder: Path, iterations: int, shards: int, finished: int) -> None:
    """Dry runs from the beginning and from the middle, and a start up to the first submission."""
    changes = {"iterations": iterations, "rollout": TINY["rollout"] | {"num_shards": shards}}
    (folder / "settings.yaml").write_text(yaml.safe_dump(TINY | changes))
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--configfile", "settings.yaml", "--cores", "2"),
    ]
    print("dry run:", measured([*command, "-n"], folder))
    finish(command, folder, finished)
    print(f"dry run after {finished} iterations:", measured([*command, "-n"], folder))
    env = instant_slurm.install(folder / "slurm")
    profile = ["--profile", str(ROOT / "slurm")]
    print("start after them, to the first job:", to_first_job([*command, *profile], folder, env))


def measured(command: Sequence[str], folder: Path) -> str:
    """Seconds, processor seconds and the largest memory of a command."""
    begun = time.monotonic()
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said[-3000:]
    total = next(line for line in said.splitlines() if line.startswith("total "))
    seconds, cpu = time.monotonic() - begun, usage.ru_utime + usage.ru_stime
    jobs, mb = total.split()[1], usage.ru_maxrss / 1000
    return f"{jobs} jobs, {seconds:.0f} s, {cpu:.0f} s of a processor, {mb:.0f} MB"


def finish(command: Sequence[str], folder: Path, iterations: int) -> None:
    """Make all outputs of the first iterations, each as old as its iteration."""
    done = subprocess.run(
        [*command, "--summary"], cwd=folder, capture_output=True, text=True, check=True
    )
    rows = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line][1:]
    begun = time.time() - 10_000
    for path in (row[0] for row in rows):
        target, age = folder / path, _age(path)
        if age > iterations or target.suffix == ".html":
            continue
        if target.suffix:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("{}")
        else:
            target.mkdir(parents=True, exist_ok=True)
        os.utime(target, (begun + age, begun + age))


def _age(path: str) -> int:
    """The iteration that a file belongs to."""
    return max((int(part) for part in Path(path).parts if part.isdigit()), default=0)


def to_first_job(command: Sequence[str], folder: Path, env: dict[str, str]) -> str:
    """Seconds, processor seconds and memory when the first job is submitted; ends it there."""
    begun = time.monotonic()
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        watched = psutil.Process(process.pid)
        while not instant_slurm.num_submitted(folder / "slurm"):
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.1)
        seconds, times = time.monotonic() - begun, watched.cpu_times()
        mb = watched.memory_info().rss / 1e6
        process.send_signal(signal.SIGKILL)
    cpu = times.user + times.system
    return f"{seconds:.0f} s, {cpu:.0f} s of a processor, {mb:.0f} MB"


def memory(folder: Path, jobs: int) -> None:
    """The executor's resident memory as the number of its ended jobs grows."""
    env = instant_slurm.install(folder / "slurm")
    work = SmallWorkflow(folder / "work", (0,), num_shards=jobs).write()
    begun = time.monotonic()
    running = work.start("--jobs", "100", "--scheduler", "greedy", env=env)
    process, due = psutil.Process(running.process.pid), 1
    while running.process.poll() is None:
        done = instant_slurm.num_submitted(folder / "slurm")
        if done >= due:
            mb = process.memory_info().rss / 1e6
            print(f"{done} jobs submitted, {mb:.1f} MB, {duration(time.monotonic() - begun)}")
            due += max(jobs // SAMPLES, 1)
        time.sleep(0.5)
    assert running.process.returncode == 0, running.said()[-3000:]


if __name__ == "__main__":
    main()
