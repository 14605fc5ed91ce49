"""`prime run`: Snakemake with dotted overrides, `--config policy.eps_clip=0.3`.

Snakemake accepts only identifiers as keys of --config; nested settings have to be written as YAML
flow mappings. Here dotted keys are translated into those, everything else is passed on.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from prime_core.settings.reading import SettingsError, expand_dotted


def run(arguments: Sequence[str]) -> None:
    """Become Snakemake."""
    command = [sys.executable, "-m", "snakemake", *translated(arguments)]
    os.execv(command[0], command)


def translated(arguments: Sequence[str]) -> list[str]:
    """The arguments with all overrides in one --config, dotted keys nested.

    Raises SettingsError for an override that is not KEY=VALUE.
    """
    passed: list[str] = []
    overrides: dict[str, Any] = {}
    in_config = False
    for argument in arguments:
        if argument in ("--config", "-C"):
            in_config = True
        elif in_config and not argument.startswith("-"):
            overrides |= _override(argument)
        else:
            in_config = False
            passed.append(argument)
    if not overrides:
        return passed
    nested = expand_dotted(overrides)
    return [*passed, "--config", *(f"{key}={json.dumps(value)}" for key, value in nested.items())]


def _override(text: str) -> dict[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise SettingsError(f"--config {text}: expected KEY=VALUE")
    return {key: yaml.safe_load(value)}
