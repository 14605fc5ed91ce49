"""`prime report --compare`: several runs on one page (prime_core.report.overlay)."""

from __future__ import annotations

from pathlib import Path

from prime_core.report.overlay import overlay
from prime_core.run.atomic import write_text
from prime_core.runtime.console import say


def run(folders: tuple[Path, ...], out: Path) -> None:
    """Write the page."""
    write_text(out, overlay(list(folders)))
    say(f"{len(folders)} runs compared: {out}")
