"""`prime run`: Snakemake with dotted overrides, `--config policy.eps_clip=0.3`.

Snakemake accepts only identifiers as keys of --config; nested settings have to be written as YAML
flow mappings. Dotted keys are translated into those, everything else is passed on unchanged
(docs/decisions.md#dotted-config).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from prime_core.launch.arguments import ABLATIONS, split_overrides
from prime_core.settings.reading import check_overrides, expand_dotted, parse_overrides


def run(arguments: Sequence[str]) -> None:
    """Replace this process by Snakemake. Raises SettingsError for a wrong or unknown override."""
    if ABLATIONS not in arguments:  # its settings are of another kind, checked by its own workflow
        check_overrides(parse_overrides(split_overrides(arguments)[1], "--config"), "--config")
    # This environment's Snakemake, whichever one comes first on PATH.
    command = [sys.executable, "-m", "snakemake", *translated(arguments)]
    # exec rather than a child: Ctrl-C, SIGTERM and the exit status are Snakemake's, unmediated.
    os.execv(command[0], command)


def translated(arguments: Sequence[str]) -> list[str]:
    """The arguments with all overrides in one --config, dotted keys nested.

    Raises SettingsError for an override that is not KEY=VALUE.
    """
    others, texts = split_overrides(arguments)
    if not texts:
        return others
    nested = expand_dotted(parse_overrides(texts, "--config"))
    # Snakemake reads values as YAML, of which JSON is a part; quotes and colons need no other care.
    return [*others, "--config", *(f"{key}={json.dumps(value)}" for key, value in nested.items())]
