"""Where Snakemake's command was typed: the folder that its relative paths mean."""

from __future__ import annotations

import gc
from pathlib import Path


def first_folder() -> Path:
    """The working folder before Snakemake changed to its --directory."""
    # Not at the top: commands that start no workflow must answer at once.
    from snakemake.common.workdir_handler import WorkdirHandler

    # Only this handler remembers the folder, and Snakemake hands out no reference to it.
    for thing in gc.get_objects():
        if isinstance(thing, WorkdirHandler) and thing.olddir is not None:
            return Path(thing.olddir)
    return Path.cwd()
