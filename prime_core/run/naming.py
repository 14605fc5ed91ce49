"""RUN@ITERATION, as commands take it: results/quickstart@12."""

from __future__ import annotations

from pathlib import Path


def split_run_at(text: str) -> tuple[Path, int | None]:
    """The run's folder and the iteration; None where the text names none."""
    # From the right: a folder's own name may hold an @, too.
    folder, at, number = text.rpartition("@")
    if at and folder and number.isdigit():
        return Path(folder), int(number)
    return Path(text), None
