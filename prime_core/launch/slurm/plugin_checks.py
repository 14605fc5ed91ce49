"""Whether the adapted executor works with the installed snakemake-executor-plugin-slurm.

In: the plugin's executor; paths that its jobs' commands name. Out: nothing, or an error that says
what to do.
"""

from __future__ import annotations

import inspect
from importlib.metadata import version
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError

PLUGIN = "snakemake-executor-plugin-slurm"
TESTED = ">=2.8,<2.9"  # as in pyproject.toml
# What submitter.py and executor.py override or call, and the parameters that it relies on.
METHODS = {
    "__init__": ("self", "workflow", "logger"),
    "__post_init__": ("self", "test_mode"),
    "_report_job_error_threadsafe": ("self", "job_info", "msg"),
    "_report_job_submission_threadsafe": ("self", "job_info"),
    "cancel_jobs": ("self", "active_jobs"),
    "check_active_jobs": ("self", "active_jobs"),
    "get_account_arg": ("self", "job"),
    "get_partition_arg": ("self", "job"),
    "run_job": ("self", "job"),
    "run_jobs": ("self", "jobs"),
    "shutdown": ("self",),
    "sleep": ("self",),
}


def check(executor: type) -> None:
    """Compare the methods with those that were tested. Raises WorkflowError naming the version."""
    # An override whose original was renamed would never be called, and nothing would say so: the
    # plugin's own polling and job names would be back.
    for name, expected in METHODS.items():
        method = getattr(executor, name, None)
        found = tuple(inspect.signature(method).parameters) if method else None
        if found != expected:
            raise WorkflowError(
                f"{PLUGIN} {version(PLUGIN)} differs from the one that this workflow was tested "
                f"with ({TESTED}): expected {name}{_signature(expected)}, found "
                f"{name}{_signature(found)}; install this project's environment again, which locks "
                "its version: make install-cpu, or make install-gpu"
            )


def check_paths(*paths: str | Path) -> None:
    """Raise WorkflowError naming a path that the plugin's quoting would change on its way."""
    # It puts the job's command between double quotes: blanks and apostrophes are safe, these not.
    for path in paths:
        if found := sorted(set(str(path)) & set('$`"\\')):
            raise WorkflowError(
                f"{path}: a path with {' '.join(found)} does not reach a Slurm job unchanged; move "
                "or rename the folder"
            )


def _signature(parameters: tuple[str, ...] | None) -> str:
    return " (absent)" if parameters is None else f"({', '.join(parameters)})"
