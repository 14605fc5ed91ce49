"""A stage that fails beside its workflow (locally, in an allocation): the end of its log, shown.

In: Snakemake's record of a failed job, whose own text `quiet` silences. Out: the last lines of the
stage's log, unless they end in the sentence that the stage has printed already. Jobs of Slurm are
told by their executor.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.common import LogEvent

from prime_core.launch.slurm.submission import end_of

# The line that a stage has ended with itself (prime_core.runtime.console.say): an error, or a stop
# for now. Whoever started the workflow has seen it.
_SAID = re.compile(
    r"^prime [\w-]+: error: |stopped (at|after) .*the next start|deferred to the next allocation$"
)


class FailedStages(logging.Filter):
    """Adds a message to each record of a failed job; lets every record pass."""

    def __init__(self, workflow: Any, logger: logging.Logger) -> None:
        super().__init__()
        self._workflow, self._logger = workflow, logger

    def filter(self, record: logging.LogRecord) -> bool:
        """True, always."""
        if getattr(record, "event", None) == LogEvent.JOB_ERROR and self._workflow.local_exec:
            for log in map(Path, getattr(record, "log", ())):
                lines = end_of(log) if log.is_file() and log.stat().st_size else []
                if lines and not _SAID.search(lines[-1].strip()):
                    # A rule may be two of one stage (docs/decisions.md#kept-and-temporary).
                    stage = str(getattr(record, "rule_name", "")).removeprefix("kept_")
                    self._logger.error("\n".join([f"{stage} failed.", *lines]))
        return True
