"""The README of a run's RO-Crate: what it holds, what it lacks, how to reproduce the run."""

from __future__ import annotations

from typing import Any

import pandas as pd

from prime_core.report.tables.collect import RunTables
from prime_core.runtime.text import bytes_text


def readme(
    run: RunTables,
    missing: list[str],
    left_out: pd.DataFrame,
    packed_commit: dict[str, Any],
    starts: list[dict[str, Any]],
) -> str:
    """Markdown. packed_commit: of the workflow's files that were packed (git_commit, git_dirty)."""
    commit = (starts[-1] if starts else {}).get("git_commit")
    lines = [
        f"# PRIME run {run.name}",
        "",
        f"{run.num_done} of {run.num_planned} iterations. `report/report.html` shows all figures; "
        "`config.yaml` holds all settings, `provenance.json` versions and machines of each start.",
        "",
        *(f"- {note}" for note in missing),
        f"- {left_out_line(left_out)}",
        *(f"- {note}" for note in _code_notes(commit, packed_commit)),
        "",
        "To reproduce the run, in a checkout of the code:",
        "",
        "```",
        *([f"git checkout {commit}"] if commit else []),
        "snakemake --configfile config.yaml",
        "```",
        "",
    ]
    return "\n".join(lines)


def left_out_line(left_out: pd.DataFrame) -> str:
    """How much of the run's folder the crate leaves out."""
    files, size = int(left_out["num_files"].sum()), int(left_out["num_bytes"].sum())
    return (
        f"Not packed: {files} files of the run ({bytes_text(size)}), mostly weights and training "
        "tables; left-out.csv lists them by folder."
    )


def _code_notes(commit: str | None, packed: dict[str, Any]) -> list[str]:
    """How the workflow's packed files may differ from those that made the run."""
    now = packed.get("git_commit")
    if commit is None:
        return ["The commit of the code is not known."]
    if now is None:
        return [f"The run was last started from commit {commit}."]
    if now != commit:
        return [f"The run was last started from commit {commit}; the packed files are of {now}."]
    if "git_dirty" not in packed:
        return ["Whether the workflow's files have uncommitted changes is not known."]
    return ["The workflow's files have uncommitted changes."] if packed["git_dirty"] else []
