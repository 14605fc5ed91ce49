"""`snakemake ablations` as a workflow: how its runs are started, and how many at a time.

In: Snakemake's command line and the plan of runs. Out: options for the Snakemake that starts each
run, cores for runs at the same time, and on disk the settings of every run.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prime_core.ablations.plan import Plan, dump_ablations
from prime_core.launch.arguments import ABLATIONS, as_snakemake_reads
from prime_core.run.atomic import write_text
from prime_core.runtime.console import note
from prime_core.runtime.run_lock import RunLock
from prime_core.settings.reading import SettingsError

# Each is a Snakemake that only polls Slurm, every few seconds.
CONTROLLERS_AT_ONCE = 4


class Workflow:
    """One launch of the ablations: what the rules need to know."""

    def __init__(self, plan: Plan, snakefile: Path, arguments: Sequence[str]) -> None:
        """arguments: Snakemake's command line; snakefile: the runs use the same.

        Raises SettingsError where other targets were given as well.
        """
        self.plan, self._snakefile = plan, snakefile
        # Parsed by Snakemake itself: profiles count, and an option's value is no target.
        self._given = as_snakemake_reads(arguments)
        others = sorted(set(self._given.targets) - {ABLATIONS})
        if others:
            raise SettingsError(
                f"'{ABLATIONS}' is a separate workflow; leave out {', '.join(others)}"
            )
        self._lock = RunLock(plan.root)

    @property
    def on_cluster(self) -> bool:
        """Whether stages are jobs elsewhere: the runs here are only their controllers."""
        return self._given.executor not in (None, "local", "dryrun", "touch")

    @property
    def cores(self) -> int:
        """Cores of each run; as many runs take place at once as there are such shares."""
        # Not cpu_count: in a batch job only some of the machine's cores are this process's.
        here = len(os.sched_getaffinity(0))
        # On a cluster --cores is not about this machine; there its own ones only bear controllers.
        asked = self._given.local_cores if self.on_cluster else self._given.cores
        all_cores = asked if isinstance(asked, int) else here
        at_once = self._at_once or all_cores
        # Rounded up: rather fewer runs at once than more than were asked for.
        return max(1, -(-all_cores // at_once))

    @property
    def _at_once(self) -> int | None:
        """Runs at the same time; None: as many as there are cores."""
        return self.plan.ablations.at_once or (CONTROLLERS_AT_ONCE if self.on_cluster else None)

    @property
    def jobs(self) -> int | None:
        """Slurm jobs of each run at a time: an equal share, so that none fills the queue alone."""
        asked = self._given.jobs
        if not (self.on_cluster and isinstance(asked, int) and self._at_once):
            return None
        return max(1, asked // self._at_once)

    @property
    def options(self) -> str:
        """Snakemake's options of each run, as a shell reads them."""
        words = ["--snakefile", str(self._snakefile)]
        for profile in self._given.profile or []:
            # Snakemake looks in the current folder, where the repository's profiles need not be.
            beside = self._snakefile.parent / profile
            words += ["--profile", str(beside) if beside.is_dir() else profile]
        if self.jobs:
            words += ["--jobs", str(self.jobs)]
        return shlex.join(words if self.on_cluster else [*words, "--cores", str(self.cores)])

    def needed(self, wildcards: Any) -> list[str]:
        """Files that a run waits for."""
        return self.plan.needed(wildcards.run)

    def answering(self, wildcards: Any) -> str:
        """Marker of the run whose judged responses are written as a file."""
        return self.plan.runs[wildcards.run].marker

    def preview(self) -> None:
        """In a dry run: name the runs that are not finished."""
        if not self._given.dryrun:
            return
        left = [run.name for run in self.plan.runs.values() if not Path(run.marker).exists()]
        print(f"{len(left)} of {len(self.plan.runs)} runs to do", *left, sep="\n  ")

    def begin(self) -> None:
        """Lock the ablations for this process, and write the settings of every run.

        Raises RunBusy when another workflow holds them.
        """
        # First: two launches would write each other's settings, and start runs twice.
        self._lock.take()
        write_text(self.plan.resolved, dump_ablations(self.plan.ablations))
        for name, run in self.plan.runs.items():
            write_text(self.plan.settings_file(name), run.text)
        # Those of variants or seeds that were taken out: `left` counts these files as runs to do.
        folder = self.plan.settings_file("x").parent
        for path in folder.glob("*.yaml"):
            if path.stem not in self.plan.runs:
                path.unlink()

    def leave(self) -> None:
        """Give the ablations back, where the process goes on: another launch may begin."""
        self._lock.release()

    def end(self, page: str) -> None:
        """Say where the report is."""
        note(f"finished: {page}")
