"""A group of settings, and what marks a setting as harmless to change."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

CHANGEABLE: dict[str, Any] = {"changeable": True}


class Section(BaseModel):
    """A group of settings: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
