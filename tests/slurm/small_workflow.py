"""A workflow as small as they get, with the adapted executor: a chain of jobs that sleep.

In: a folder and a few numbers. Out: a Snakefile there, commands that run it, what its jobs did.
Every job writes when it began and ended into its output, and one line into `begun`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prime_core.launch.site.site import Pool
from prime_core.run.job_records import slurm_name
from prime_core.run.layout import RunFiles
from tests.slurm import users
from tests.slurm.users_variables import HOSTILE
from tests.support.shared_data import ROOT

SNAKEFILE = """
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from prime_core.launch.slurm.orphans import StoppedWaiting, restart, wait_for_orphans
from prime_core.launch.site.site import Pool, Site
from prime_core.launch.slurm.executor import adapt
from prime_core.run.layout import RunFiles
from prime_core.runtime.run_lock import RunBusy, RunLock

{before}
SECONDS = {seconds!r}
FILES = RunFiles(Path("results/small"))
LOCK = RunLock(FILES.root)
STEP = "results/small/iterations/{{iteration}}/{{shard}}.txt"


def refuse():
    note = Path("refuse")
    return note.read_text() if note.exists() else None


if {adapted}:
    adapt(FILES, Site({kind}={pools}), refuse)


def before(wildcards):
    earlier = int(wildcards.iteration) - 1
    return STEP.format(iteration=earlier, shard=wildcards.shard) if earlier else []


rule all:
    input:
        [STEP.format(iteration=len(SECONDS), shard=shard) for shard in range({num_shards})],
    localrule: True


rule kept_step:
    input: before
    output: STEP
    log: "results/small/logs/{{iteration}}-{{shard}}.log"
    params:
        seconds=lambda wildcards: SECONDS[int(wildcards.iteration) - 1]
    resources:
        slurm_partition={partition!r},
        gpu_count={gpus},
        {resources}
        mem_mb=lambda wildcards, attempt: 400 * attempt,
        runtime=lambda wildcards, attempt: 5 * attempt,
    shell:
        "echo {{wildcards.iteration}}-{{wildcards.shard}} >> begun; b=$(date +%s.%N); "
        "sleep {{params.seconds}}; ( {command} ) > {{log}} 2>&1; "
        "echo $b $(date +%s.%N) > {{output}}.part; mv {{output}}.part {{output}}"


onstart:
    try:
        LOCK.take()
        if wait_for_orphans(FILES):
            LOCK.release()
            restart()
    except (RunBusy, StoppedWaiting) as error:
        raise WorkflowError(str(error)) from None
"""
OPTIONS = (
    *("--cores", "4", "--nolock", "--rerun-incomplete", "--latency-wait", "10"),
    *("--rerun-triggers", "mtime", "--quiet", "rules", "host", "reason"),
)
# A job's command that ends when SmallWorkflow.let_go is called, however long that takes.
UNTIL_TOLD = "while ! [ -e go ]; do sleep 0.2; done"
LOCAL = ("--executor", "local")
SLURM = ("--executor", "slurm", "--jobs", "8", "--slurm-status-command", "squeue")


def snakemake(way: Sequence[str]) -> list[str]:
    """The command that runs a small workflow in its folder."""
    return [sys.executable, "-m", "snakemake", *OPTIONS, *way]


@dataclass(frozen=True)
class SmallWorkflow:
    """A chain of len(seconds) jobs for each shard; command: what else each job does.

    pools: of the site, in the partition alone where none are given; gpus: of each job; resources:
    more of them, as in a rule; before: Python that shortens the executor's waits.
    """

    folder: Path
    seconds: Sequence[float] = (1, 1)
    num_shards: int = 1
    command: str = "true"
    partition: str = "cpu"
    adapted: bool = True
    pools: Sequence[Pool] = ()
    gpus: int = 0
    resources: str = ""
    before: str = ""

    def write(self) -> SmallWorkflow:
        """Write the Snakefile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        pools = self.pools or [Pool(partition=self.partition, max_mem_mb=500, max_minutes=9)]
        text = SNAKEFILE.format(
            kind="gpu" if self.gpus else "cpu",
            pools=list(pools),
            gpus=self.gpus,
            seconds=list(self.seconds),
            num_shards=self.num_shards,
            command=self.command,
            partition=self.partition,
            adapted=self.adapted,
            resources=self.resources,
            before=self.before,
        )
        (self.folder / "Snakefile").write_text(text)
        return self

    @property
    def files(self) -> RunFiles:
        """The run's files."""
        return RunFiles(self.folder / "results" / "small")

    @property
    def name(self) -> str:
        """The name of its Slurm jobs."""
        return slurm_name(self.files.root)

    def start(
        self,
        *more: str,
        env: Mapping[str, str],
        way: Sequence[str] = SLURM,
        typed_in: Path | None = None,
    ) -> Running:
        """Start Snakemake; its output goes into a file in the folder.

        In a lab it is the ordinary user's, who is given the folder, and has to be able to enter it.
        typed_in: where the command is given, if not in the folder itself.
        """
        log = self.folder / f"snakemake-{time.time_ns()}.log"
        command = [*snakemake(way), *more]
        # The plugin by itself, which a benchmark runs, would heed them.
        env = {**env, **(HOSTILE if self.adapted else {})}
        if users.is_known():
            command, env = users.as_user(command), users.environment(env, self.folder / "home")
            users.give(self.folder)
        with log.open("w") as stream:
            process = subprocess.Popen(
                command,
                cwd=typed_in or self.folder,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**env, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            )
        return Running(process, log)

    def let_go(self) -> None:
        """End jobs whose command is UNTIL_TOLD, those to come as well."""
        (self.folder / "go").touch()

    def begun(self) -> list[str]:
        """ "iteration-shard" of every start of a job, in that order."""
        path = self.folder / "begun"
        return path.read_text().split() if path.exists() else []

    def times(self, iteration: int, shard: int = 0) -> tuple[float, float]:
        """When a job began and ended, in seconds since 1970."""
        step = self.files.root / "iterations" / str(iteration) / f"{shard}.txt"
        begin, end = step.read_text().split()
        return float(begin), float(end)


@dataclass(frozen=True)
class Running:
    """A Snakemake at work."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """All its output so far."""
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float = 400) -> int:
        """Its exit status; fails with its output when it does not end."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not end within {seconds} s:\n{self.said()}") from None

    def wait_until(self, condition: Callable[[], object], what: str, seconds: float = 200) -> None:
        """Wait while it runs; fails with its output when the condition does not come true."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"ended before {what}:\n{self.said()}"
            assert time.monotonic() < deadline, f"no {what} in {seconds} s:\n{self.said()}"
            time.sleep(0.1)


def jobs_at_work(env: Mapping[str, str], name: str, form: str = "%i") -> list[str]:
    """What squeue says of the jobs of a name that have not ended."""
    command = ["squeue", "--noheader", f"--name={name}", f"--format={form}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()


def wrapped(env: Mapping[str, str], folder: Path, program: str, script: str) -> dict[str, str]:
    """An environment with a script in a program's place; the script may call it as "$real"."""
    folder.mkdir(parents=True, exist_ok=True)
    real = shutil.which(program, path=env["PATH"])
    (folder / program).write_text(f"#!/bin/sh\nreal={real}\n{script}\n")
    (folder / program).chmod(0o755)
    return {**env, "PATH": f"{folder}{os.pathsep}{env['PATH']}"}
