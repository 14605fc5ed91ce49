"""Stage `crate`: the record of a run, finished or not, as a Workflow Run RO-Crate.

In: settings, provenance, report, figures, evaluations. Out: ro-crate.zip. The workflow writes it
with the report; this is for a run that has none yet, or whose files have changed since.
"""

from __future__ import annotations

from pathlib import Path

from prime_core.report.crate.crate import write_crate
from prime_core.report.tables.collect import collect
from prime_core.report.tables.missing import missing_parts
from prime_core.run.layout import RunFiles
from prime_core.run.tables import TableError
from prime_core.runtime.console import say
from prime_core.runtime.locks import only_one


def run(run_dir: Path) -> None:
    """Pack what the run in this folder has written so far."""
    files = RunFiles(run_dir)
    if not files.config.exists():
        raise TableError(f"{files.config}: no such file; expected the folder of a run")
    with only_one(files.crate, run_dir):
        tables = collect(run_dir)
        missing = missing_parts(tables, run_dir)
        write_crate(tables, files, missing)
    say(f"crate: {len(missing)} parts missing: {files.crate}")
