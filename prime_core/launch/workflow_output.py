"""What Snakemake prints for a run: stages alone, errors as one sentence, a dry run's table.

In: the workflow, from its Snakefile. Out: a filter of Snakemake's own messages. Snakemake runs no
hook in a dry run; its last message is where the table stands. docs/decisions.md#dry-run-table
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snakemake.resources import Resource, Resources
from snakemake.settings.enums import Quietness

from prime_core.launch.arguments import as_snakemake_reads
from prime_core.launch.dry_run import lines
from prime_core.launch.failed_stages import FailedStages
from prime_core.launch.site.resource_names import GPUS, GPUS_ASKED
from prime_core.launch.site.site import Site
from prime_core.run.stages import STAGES, stage_of_rule
from prime_core.runtime.console import FEW_LINES, IN_WORKFLOW
from prime_core.runtime.errors import refuse_unusable, sentence
from prime_core.settings.notes import notes_on
from prime_core.settings.reading import SettingsError
from prime_core.settings.rollout import Rollout
from prime_core.settings.run import Settings

# Exported to every job: its standard error is a log (prime_core.runtime.console).
STAGE_SHELL = f"set -euo pipefail; export {IN_WORKFLOW}=1; "
# More sharded jobs than this in an iteration, and it has one line on the console.
_MANY_JOBS = 8
_LOGGER = logging.getLogger("snakemake.logging")
# The stages print their own line; Snakemake's two before each job say less.
_CHATTER = (
    *("Select jobs to execute", "Execute ", "SLURM run ID: ", "Cleaning up SLURM log"),
    "You are running snakemake in a SLURM job context",  # as `prime launch` does
    "No job memory information",  # a site's wish (site.yaml: memory: none), said of every job
    # The report was renewed since, by the watch and not by a job: that is as it should be.
    "Warning: the following output files of rule report were not present",
)
# The executor's own line names the stage ; the plugin's, a log to be.
_SUBMITTED = re.compile(r"Job \d+ has been submitted with SLURM jobid ")
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


def show_stages_only(
    workflow: Any, site: Site | None = None, settings: Settings | None = None
) -> None:
    """Leave out Snakemake's chatter; end a dry run with the table of its jobs.

    settings: whose notes stand above that table; a run that begins says them itself.
    """
    _LOGGER.addFilter(_Output(workflow, site or Site(), notes_on(settings) if settings else []))
    _LOGGER.addFilter(FailedStages(workflow, _LOGGER))


class _Output(logging.Filter):
    """On the logger, not on a handler: a message is seen once, whatever is shown of it."""

    def __init__(self, workflow: Any, site: Site, notes: list[str]) -> None:
        super().__init__()
        self._workflow, self._site, self._notes = workflow, site, notes

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if message.startswith(_LAST_OF_DRY_RUN):
            record.msg, record.args = (
                "\n".join([*self._notes, *self._table(), _LAST_OF_DRY_RUN + "."]),
                (),
            )
            return True
        if message.startswith(_REASONS):
            return Quietness.REASON not in (self._workflow.output_settings.quiet or ())
        # The table has them, and Snakemake would print them twice.
        if message.startswith(_COUNTS):
            return not self._workflow.dryrun
        return not (message.startswith(_CHATTER) or _SUBMITTED.match(message))

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


def refuse_unusable_folder(run_dir: Path) -> None:
    """Raise OSError naming a folder of Snakemake's or the run's that this user cannot write."""
    refuse_unusable(Path(), Path(".snakemake"), run_dir)


def apply_to_rules(workflow: Any) -> None:
    """Let --set-resources of a stage hold for all rules that run it, and for GPUs as counted here.

    To be called before the first rule. Raises SettingsError for a name that is no stage, and for a
    type of GPU, which is the site's.
    """
    asked = workflow.resource_settings
    overwritten = {name: _with_gpus(name, own) for name, own in asked.overwrite_resources.items()}
    refuse_unknown_stages(overwritten)
    others = {f"kept_{name}": values for name, values in overwritten.items()}
    if "evaluate" in overwritten:
        sampling = ("evaluate_shard", "evaluate_scored")
        others |= dict.fromkeys(sampling, overwritten["evaluate"])
    asked.overwrite_resources = others | overwritten
    if GPUS_ASKED in workflow.global_resources:
        workflow.global_resources[GPUS] = workflow.global_resources[GPUS_ASKED].value


def refuse_unknown_stages(names: Iterable[str]) -> None:
    """Raise SettingsError for rules, named by --set-resources, that are no stage's."""
    stages = {stage_of_rule(name) for name in names}
    if unknown := sorted(stages - {*STAGES}):
        raise SettingsError(
            f"--set-resources {unknown[0]}: no such stage; expected one of {', '.join(STAGES)}"
        )


def _with_gpus(name: str, asked: Mapping[str, Any]) -> Resources:
    if "gpu_model" in asked:
        raise SettingsError(
            f"--set-resources {name}:gpu_model: the type of GPU is the site's (site.yaml: "
            "gpu.gpu_model)"
        )
    return Resources(dict(map(_renamed, asked.items())))


def _renamed(item: tuple[str, Resource]) -> tuple[str, Resource]:
    key, one = item
    return (GPUS, Resource(GPUS, one.value, one.raw)) if key == GPUS_ASKED else item
