"""What Snakemake prints for a run: stages alone, errors as one sentence, a dry run's table.

In: the workflow, from its Snakefile. Out: a filter of Snakemake's own messages. Snakemake runs no
hook in a dry run; its last message is where the table stands. docs/decisions.md#dry-run-table
"""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snakemake.settings.enums import Quietness

from prime_core.launch.arguments import as_snakemake_reads
from prime_core.launch.dry_run import lines
from prime_core.launch.site.site import Site
from prime_core.run.stages import STAGES
from prime_core.runtime.console import FEW_LINES, IN_WORKFLOW
from prime_core.runtime.errors import refuse_read_only, sentence
from prime_core.settings.reading import SettingsError
from prime_core.settings.rollout import Rollout

# Exported to every job: its standard error is a log (prime_core.runtime.console).
STAGE_SHELL = f"set -euo pipefail; export {IN_WORKFLOW}=1; "
# More sharded jobs than this in an iteration, and it has one line on the console.
_MANY_JOBS = 8
_LOGGER = logging.getLogger("snakemake.logging")
# The stages print their own line; Snakemake's two before each job say less.
_CHATTER = (
    *("Select jobs to execute", "Execute ", "SLURM run ID: ", "Cleaning up SLURM log"),
    # The report was renewed since, by the watch and not by a job: that is as it should be.
    "Warning: the following output files of rule report were not present",
)
_REASONS = "Reasons:"
_COUNTS = "Job stats:"
_LAST_OF_DRY_RUN = "This was a dry-run"


def stage_shell(workflow: Any, rollout: Rollout) -> str:
    """How the shell of a stage's rule begins.

    Of many jobs an iteration none has its line on the console, unless with --verbose.
    """
    num_jobs = 2 * rollout.num_shards * (1 + rollout.refill_rounds)  # sample, verify
    few = num_jobs > _MANY_JOBS and not workflow.output_settings.verbose
    # Slurm signals every process of a job. Only the stage itself must react, at a checkpoint: a
    # shell that died first would take it along (docs/decisions.md#signals-in-shells).
    return f"{STAGE_SHELL}{f'export {FEW_LINES}=1; ' if few else ''}trap '' TERM USR2; "


def show_stages_only(workflow: Any, site: Site | None = None) -> None:
    """Leave out Snakemake's chatter; end a dry run with the table of its jobs."""
    _LOGGER.addFilter(_Output(workflow, site or Site()))


class _Output(logging.Filter):
    """On the logger, not on a handler: a message is seen once, whatever is shown of it."""

    def __init__(self, workflow: Any, site: Site) -> None:
        super().__init__()
        self._workflow, self._site = workflow, site

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if message.startswith(_LAST_OF_DRY_RUN):
            record.msg, record.args = "\n".join([*self._table(), _LAST_OF_DRY_RUN + "."]), ()
            return True
        if message.startswith(_REASONS):
            return Quietness.REASON not in (self._workflow.output_settings.quiet or ())
        # The table has them, and Snakemake would print them twice.
        if message.startswith(_COUNTS):
            return not self._workflow.dryrun
        return not message.startswith(_CHATTER)

    def _table(self) -> Iterator[str]:
        jobs = self._workflow.dag.needrun_jobs(exclude_finished=False)
        # A dry run's workflow does not say what would execute it.
        on_slurm = as_snakemake_reads(sys.argv[1:]).executor == "slurm"
        yield from lines(jobs, self._site if on_slurm else None)


@contextmanager
def one_sentence(*kinds: type[BaseException]) -> Iterator[None]:
    """End Snakemake with one sentence for errors of a user's making, without its frames.

    kinds: errors beside wrong settings and what the system refuses.
    """
    told: tuple[type[BaseException], ...] = (SettingsError, OSError, *kinds)
    try:
        yield
    except told as error:
        _LOGGER.error(sentence(error))
        # Not WorkflowError, to which Snakemake adds lines of this file.
        raise SystemExit(1) from None


def refuse_unusable_folder(results: Path) -> None:
    """Raise OSError naming the first folder that cannot be written, or is no folder."""
    for folder in (Path(), results):
        existing = next(path for path in (folder, *folder.parents, Path()) if path.exists())
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "is a file; expected a folder", str(existing))
        refuse_read_only(existing)


def apply_to_kept(asked: Any) -> None:
    """Let --set-resources of a stage hold for its rule whose weights are kept, too.

    asked: Snakemake's ResourceSettings, before the first rule. Raises SettingsError for a name that
    is no stage.
    """
    overwritten = dict(asked.overwrite_resources)
    stages = {name.removeprefix("kept_") for name in overwritten}
    if unknown := sorted(stages - {*STAGES}):
        raise SettingsError(
            f"--set-resources {unknown[0]}: no such stage; expected one of {', '.join(STAGES)}"
        )
    kept = {f"kept_{name}": values for name, values in overwritten.items()}
    asked.overwrite_resources = kept | overwritten
