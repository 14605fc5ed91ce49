"""A group of settings, and what marks a setting as harmless to change."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

CHANGEABLE: dict[str, Any] = {"changeable": True}

# Names of runs and benchmarks become names of files and folders.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _usable_in_rules(value: str) -> str:
    # Shells are given it in quotes, so blanks and $ are letters; braces are Snakemake's wildcards.
    refused = sorted({c for c in value if c in "{}" or not c.isprintable()})
    if refused or not value or value.startswith("-"):
        raise ValueError(
            "expected the path of a folder without braces or control characters that does not "
            f"begin with '-', got {value!r}"
        )
    return value


# A folder whose path becomes part of the workflow's rules and of their commands.
FolderPath = Annotated[str, AfterValidator(_usable_in_rules)]


class Section(BaseModel):
    """A group of settings: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
