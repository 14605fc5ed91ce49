"""The report's figures as TensorBoard events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from prime_core.report.tables.collect import RunTables
from prime_core.runtime.hidden_modules import hidden

NOT_FIGURES = frozenset({"iteration", "finished"})


def write_events(folder: Path, run: RunTables) -> None:
    """Scalars under the metrics' own names, and evaluation/<benchmark>/<figure>; step: iteration.

    The folder must be one that nobody reads yet: events are written one by one.
    """
    # It imports torch where it can, for tensors, and is given numbers alone.
    with hidden("torch"):
        from tensorboardX import SummaryWriter

    with SummaryWriter(logdir=str(folder)) as writer:
        for tag, value, step in scalars(run):
            writer.add_scalar(tag, value, step)


def scalars(run: RunTables) -> Iterator[tuple[str, float, int]]:
    """(name, value, iteration) of every figure that is known."""
    for row in run.iterations.to_dict("records"):
        for name, value in row.items():
            if name not in NOT_FIGURES and pd.notna(value):
                yield str(name), float(value), int(row["iteration"])
    for row in run.evaluations.to_dict("records"):
        for name, value in row.items():
            # The table has columns of text, and gaps where a benchmark lacks a figure that others
            # have.
            if name not in NOT_FIGURES and isinstance(value, int | float) and pd.notna(value):
                tag = f"evaluation/{row['benchmark']}/{name}"
                tag = tag.replace("@", "_at_")  # tags may not contain an @
                yield tag, float(value), int(row["iteration"])
