"""A run between launches: what is finished, what is kept, who holds it, which settings it has.

The Snakefile asks it while it builds the graph, and tells it when work begins and ends.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prime_core.run.atomic import write_text
from prime_core.run.branching import origin_record
from prime_core.run.changes import refused_changes
from prime_core.run.layout import TRAINING_STATE, RunFiles, unfinished_folder
from prime_core.run.prm_folders import evaluation_scorer_folders
from prime_core.run.provenance import record_start
from prime_core.run.reward_function import keep_function, refuse_function
from prime_core.run.stages import STAGES, STOPPABLE, Stage, result_of
from prime_core.run.training_states import remove_lost
from prime_core.runtime.console import note
from prime_core.runtime.run_lock import RunBusy as RunBusy  # the workflow imports it from here
from prime_core.runtime.run_lock import RunLock
from prime_core.settings.notes import notes_on
from prime_core.settings.reading import SettingsError, dump_settings, load_settings
from prime_core.settings.run import Settings
from prime_core.storage import state_memory


class RunState:
    """One run's state on disk, seen with the settings of this start."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError when these settings would change finished work."""
        self.settings, self.files = settings, RunFiles(settings.run_dir)
        self._lock = RunLock(self.files.root)
        self._refuse_changes()
        refuse_function(settings, self.files)
        self._refuse_origin()

    def is_last(self, iteration: int) -> bool:
        """Whether an iteration's weights are among the newest that are kept."""
        return iteration > self.settings.iterations - self.settings.num_last_kept

    def is_kept(self, iteration: int) -> bool:
        """Whether an iteration's weights stay on disk."""
        save_freq = self.settings.checkpoints.save_freq
        return self.is_last(iteration) or (save_freq > 0 and iteration % save_freq == 0)

    def kept_pattern(self) -> str:
        """Regular expression of the iterations whose weights stay."""
        # The look-ahead: from 10,000 on a number has five digits, of which the first four would
        # match.
        kept = [f"{i:04d}" for i in range(self.settings.iterations + 1) if self.is_kept(i)]
        return f"(?:{'|'.join(kept)})(?!\\d)"

    def evaluations(self) -> list[tuple[int, str]]:
        """Pairs of iteration and benchmark to evaluate: every n-th iteration, first and last.

        An evaluation requested later is skipped where the weights are gone: bringing them back
        would mean training again.
        """
        wanted = [
            (iteration, benchmark)
            for iteration in range(self.settings.start, self.settings.iterations + 1)
            for benchmark in self.settings.evaluation.names
            if iteration % self.settings.evaluation.every == 0
            or iteration == self.settings.iterations
        ]
        return [pair for pair in wanted if self._can_evaluate(*pair)]

    def hold(self) -> None:
        """Hold the run for this process. Raises RunBusy when another workflow holds it."""
        self._lock.take()

    def give_back(self) -> None:
        """Release the run for another workflow; the end of the process does the same."""
        self._lock.release()

    def remove_lost(self) -> bool:
        """Remove weights whose training state was lost with a machine's memory; whether any were.

        The graph that was built with them is then out of date.
        """
        return remove_lost(self.settings, self.files)

    def begin(self) -> None:
        """Hold the run for this process and write settings and provenance down.

        Raises RunBusy when another workflow holds it.
        """
        # The workflow holds the run already (it has waited for orphans); taking it twice does
        # nothing.
        self.hold()
        # Once more, since until now another process could have written other settings.
        self._refuse_changes()
        refuse_function(self.settings, self.files)
        origin = self._refuse_origin()
        keep_function(self.settings, self.files)
        write_text(self.files.config, dump_settings(self.settings))
        record_start(self.files.provenance, self.settings, origin)
        for line in notes_on(self.settings):
            note(line)

    def end(self) -> None:
        """Remove what killed workflows leave: weights no longer needed, unfinished folders.

        docs/decisions.md#kept-and-temporary
        """
        # By how many iterations the last one that samples from these weights comes after them.
        last_user = 1 + self.settings.rollout.lag
        for iteration in self.settings.own_iterations[:-1]:  # a branch keeps what it started from
            used = self.files.metrics(iteration + last_user, "policy").exists()
            if used and not self.is_kept(iteration):
                for folder in self.files.trained(iteration, self.settings.trained):
                    shutil.rmtree(folder, ignore_errors=True)
        for folder in state_memory.entries_below(self.files.root):
            if (folder / TRAINING_STATE).is_dir() or not folder.exists():
                state_memory.forget(folder)
        # Only now: the workflow has ended and holds the run, so no stage is still filling one of
        # these.
        for pattern in (".*.tmp", ".*.old"):
            # A list: removing folders during the walk would upset it.
            for leftover in list(self.files.root.rglob(pattern)):
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)
        for output, metrics in self._made_in_steps():
            # Figures are written last: without them the stage may still resume from the checkpoint.
            if metrics.exists():
                shutil.rmtree(unfinished_folder(output), ignore_errors=True)

    def _made_in_steps(self) -> Iterator[tuple[Path, Path]]:
        """Output and figures of each stage that can stop at a checkpoint."""
        for name in STOPPABLE:
            kind = STAGES[name]
            iterations = [0] if kind.each == "run" else self.settings.own_iterations
            for iteration in iterations:
                result = result_of(self.files, Stage(iteration, name, ""))
                yield self.files.weights(kind.trains, iteration), result

    def _can_evaluate(self, iteration: int, benchmark: str) -> bool:
        done = self.files.evaluation(iteration, benchmark).exists()
        # Weights of an iteration that has not finished are still to come, not gone.
        finished = iteration > 0 and self.files.metrics(iteration, "policy").exists()
        needed = [self.files.policy(iteration)]
        if self.settings.evaluation.uses_prm(benchmark):
            needed += evaluation_scorer_folders(self.settings, self.files, iteration)
        gone = finished and not all(path.exists() for path in needed)
        if gone and not done:
            note(
                f"no evaluation of '{benchmark}' at iteration {iteration}: its weights are gone "
                "(checkpoints.save_freq)"
            )
        return done or not gone

    def _refuse_origin(self) -> dict[str, Any]:
        """What to record of the run that this one continues, until it has been taken over."""
        # Once taken over, nothing needs the origin: it may have been deleted.
        # docs/decisions.md#branch-start
        if not self.settings.init_from or self.files.setup_metrics("branch").exists():
            return {}
        return origin_record(self.settings, self.files)

    def _refuse_changes(self) -> None:
        if not self.files.config.exists():
            return
        changes = refused_changes(load_settings(self.files.config), self.settings, self.files)
        if changes:
            raise SettingsError(
                f"{self.files.root} holds finished work that these settings would change: "
                f"{'; '.join(changes)}. Give the run another name (--config run=NAME; with "
                f"init_from={self.settings.run}@ITERATION it continues from one of these), "
                f"restore the keys, or delete {self.files.root}"
            )


def find_own_commands() -> None:
    """Let jobs find `prime` beside this Python, even where its environment is not activated."""
    own = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "")
    if own not in path.split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([own, path])
