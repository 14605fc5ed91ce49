"""A group of settings, and what marks a setting as harmless to change."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

CHANGEABLE: dict[str, Any] = {"changeable": True}

# Names of runs and benchmarks become names of files and folders.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Section(BaseModel):
    """A group of settings: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
