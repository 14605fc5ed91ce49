"""What a stage says: a progress bar, its one line."""

from __future__ import annotations

import os
import sys

from tqdm import tqdm


def progress_bar(total: int, unit: str, description: str) -> tqdm:
    """A bar on standard error: lively on a terminal, a line every ten seconds in a log.

    Only the first rank shows one.
    """
    lively = sys.stderr.isatty()
    return tqdm(
        total=total,
        unit=unit,
        desc=description,
        mininterval=0.2 if lively else 10.0,
        dynamic_ncols=lively,
        leave=True,
        disable=os.environ.get("RANK", "0") != "0",
    )


def say(line: str) -> None:
    """Print a stage's one line; into its log as well, whose end a workflow on Slurm shows."""
    print(line, flush=True)
    if not sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)
