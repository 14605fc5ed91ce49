"""Every setting in which a run differs from the paper's run that it is compared with.

In: a run's settings as written in its file, a file of configs/paper. Out: one row per difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.report.reproduction.published import MAIN_ROW, PAPER_CONFIGS, Row, published
from prime_core.run.changes import is_changeable
from prime_core.settings.reading import load_settings

ABSENT = "(absent)"
NO_CHOICE = ("run", "results", "reproduction")  # names and places, and what is compared
COLUMNS = ("key", "paper", "own", "changeable")


@dataclass(frozen=True)
class SettingDifference:
    """One setting; ABSENT where one side has no such key. A whole section may be a value.

    changeable: it may change while a run is under way, since finished work does not depend on it.
    """

    key: str
    paper: Any
    own: Any
    changeable: bool


def paper_config(row: Row) -> Path | None:
    """The settings file of a row's run, else that of the main run; None: neither is there."""
    names = (row.config, published().rows[MAIN_ROW].config)
    found = (PAPER_CONFIGS / name for name in names if name)
    return next((path for path in found if path.exists()), None)


def paper_differences(own: dict[str, Any], config: Path) -> list[SettingDifference]:
    """Differences of a run's settings from those of a file, in the file's order.

    Raises SettingsError naming the file and the key where it cannot be read.
    """
    paper = load_settings(config).model_dump(mode="json")
    return [
        SettingDifference(key, theirs, ours, is_changeable(key))
        for key, theirs, ours in differing(paper, own)
        if key.partition(".")[0] not in NO_CHOICE
    ]


def differing(
    first: dict[str, Any], second: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Dotted key and both values of everything in which two nested mappings differ.

    Where a section stands against a plain value or nothing, the section is one value.
    """
    for key in dict.fromkeys([*first, *second]):
        one, other = first.get(key, ABSENT), second.get(key, ABSENT)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from differing(one, other, f"{prefix}{key}.")
        elif one != other:
            yield f"{prefix}{key}", one, other


def differences_table(rows: list[SettingDifference]) -> pd.DataFrame:
    """COLUMNS, for differing_settings.csv."""
    return pd.DataFrame([asdict(row) for row in rows], columns=list(COLUMNS))
