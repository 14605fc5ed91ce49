"""PRIME, outcome rewards alone and TRL's RLOOTrainer, each at its best of as many trials.

    python -m benchmarks.fair                      # all; hours on two cores; results/fair
    python -m benchmarks.fair --tasks quickstart --cores 2
    python -m benchmarks.fair --trainers workflow  # without TRL, which the next call adds

benchmarks/fair/comparison.yaml has tasks, methods, trials, seeds and the rule by which they are
read. For each task: the trials of a method with the screening's seeds, then each method at its best
with the others. A finished run is not started again until one of its settings changes, so the same
command resumes an interrupted one, and adds what the file has more: a seed, a task, a trial. The
folders are those of `snakemake ablations`: results/fair/<task>/report/report.html has curves and
differences. TRL gets an environment of its own in build/peers, by pip (benchmarks/peers).
"""

from __future__ import annotations

import argparse
import itertools
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from benchmarks.fair.plan import FILE, Fair, Trainer, load_fair
from benchmarks.fair.table import curves_table, differences_table
from benchmarks.fair.trl import run_trl
from benchmarks.peers.__main__ import NO_GPU, ROOT, trl_python
from prime_core.ablations import report
from prime_core.ablations.plan import BASE, Ablations, Plan, Run, run_name
from prime_core.ablations.results import Results, collect
from prime_core.ablations.workflow import Workflow
from prime_core.launch.arguments import ABLATIONS
from prime_core.run.layout import RunFiles
from prime_core.run.state import find_own_commands

TRAINERS: tuple[Trainer, ...] = ("workflow", "trl")


class Comparing:
    """One call: the file, runs at a time, and the folder of TRL's environment."""

    def __init__(self, fair: Fair, cores: int, peers: Path) -> None:
        self.fair, self._cores, self._peers = fair, cores, peers

    @cached_property
    def _trl(self) -> Path:
        self._peers.mkdir(parents=True, exist_ok=True)
        return trl_python(self._peers)

    def compare(self, task: str, trainers: Sequence[Trainer]) -> Results:
        """All runs of a task, those of the first trainer first."""
        methods: list[str] = []
        for trainer in trainers:
            methods += self.fair.trained_by(trainer)  # reports show those before as well
            screening = self.run(self.fair.screened(task, methods))
            chosen = self.fair.best(screening, methods)
            print(f"{task}: {chosen}", flush=True)
            results = self.run(self.fair.at_best(task, chosen))
        return results

    def run(self, ablations: Ablations) -> Results:
        """Runs of these ablations that have not finished, and the report.

        Seed by seed: what is there when it is interrupted has as many runs of each variant.
        """
        plan = Plan(ablations, ROOT)
        # One core each; as many at once as this call has.
        workflow = Workflow(plan, ROOT / "Snakefile", [ABLATIONS, "--cores", "1"])
        workflow.begin()
        unfinished = [run for run in plan.runs.values() if not Path(run.marker).exists()]
        with tqdm(total=len(unfinished), unit="run", desc=plan.root.name) as bar:
            for _, of_seed in itertools.groupby(unfinished, key=lambda run: run.seed):
                runs = list(of_seed)
                bases = [run for run in runs if run.settings.iterations == 0]
                for group in (bases, [run for run in runs if run not in bases]):
                    with ThreadPoolExecutor(self._cores) as pool:
                        for _ in pool.map(lambda run: self._one(plan, workflow, run), group):
                            bar.update()
        report.run(plan.root, None)
        return collect(plan.root)

    def _one(self, plan: Plan, workflow: Workflow, run: Run) -> None:
        log = plan.root / "logs" / f"{run.name}.{run.digest}.log"
        log.parent.mkdir(exist_ok=True)
        if self.fair.trainer_of(run.name.removesuffix(f"-seed{run.seed}")) == "trl":
            base = RunFiles((plan.root / run_name(BASE, run.seed)).resolve())
            run_trl(run, base, self.fair.benchmark, self._trl, log.resolve())
            return
        command = [sys.executable, "-m", "prime_core.cli.main", "ablation"]
        command += [str(plan.settings_file(run.name)), "--out", run.marker]
        command += shlex.split(workflow.options)
        if status_of(command, log):
            sys.exit(f"{run.name} did not finish: {log}; the same command resumes it")


def status_of(command: Sequence[str], log: Path) -> int:
    """Run a command without a GPU and with one thread; its exit status."""
    with log.open("ab") as stream:
        return subprocess.run(
            command, env={**os.environ, **NO_GPU}, stdout=stream, stderr=stream, check=False
        ).returncode


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", type=Path, default=FILE)
    parser.add_argument("--tasks", nargs="+", help="of the file; all by default")
    parser.add_argument("--trainers", nargs="+", choices=TRAINERS, default=TRAINERS)
    parser.add_argument("--cores", type=int, default=1, help="runs at a time, one core each")
    parser.add_argument("--peers", type=Path, default=Path("build/peers"), help="TRL's environment")
    return parser.parse_args()


def main() -> None:
    options = parse()
    find_own_commands()
    fair = load_fair(options.file)
    comparing = Comparing(fair, options.cores, options.peers.resolve())
    for task in options.tasks or fair.tasks:
        if task not in fair.tasks:
            sys.exit(f"--tasks {task}: {options.file} has {', '.join(fair.tasks)}")
        results = comparing.compare(task, options.trainers)
        lines = (fair.tasks[task].title, "", *curves_table(results), "")
        print("\n".join((*lines, *differences_table(results), "")), flush=True)


if __name__ == "__main__":
    main()
