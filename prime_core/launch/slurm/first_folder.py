"""The folder that Snakemake was started in, before its --directory."""

from __future__ import annotations

import gc
from pathlib import Path


def first_folder() -> Path:
    """Where the command was typed; Snakemake has since changed to its --directory."""
    from snakemake.common.workdir_handler import WorkdirHandler

    # Only this handler remembers the folder, and Snakemake hands out no reference to it.
    for thing in gc.get_objects():
        if isinstance(thing, WorkdirHandler) and thing.olddir is not None:
            return Path(thing.olddir)
    return Path.cwd()
