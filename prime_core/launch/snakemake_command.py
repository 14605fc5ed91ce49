"""`prime run`: Snakemake with dotted overrides, `--config policy.eps_clip=0.3`, from any folder.

Snakemake accepts only identifiers as keys of --config; nested settings have to be written as YAML
flow mappings. Dotted keys are translated into those, everything else is passed on unchanged
(docs/decisions.md#dotted-config). Settings are checked before Snakemake reads them, which answers a
missing or malformed file with a traceback.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from prime_core.launch.arguments import (
    ABLATIONS,
    asked_settings,
    from_anywhere,
    named_configfiles,
    split_overrides,
    workflow_folder,
)
from prime_core.launch.site.site import load_site, site_file
from prime_core.settings.reading import (
    check_overrides,
    expand_dotted,
    load_yaml,
    parse_overrides,
)
from prime_core.storage.caches import use_caches


def run(arguments: Sequence[str]) -> None:
    """Replace this process by Snakemake. Raises SettingsError for wrong settings."""
    if ABLATIONS not in arguments:  # its settings are of another kind, checked by its own workflow
        # First alone: a wrong override is told by its name, without the file that it was laid over.
        check_overrides(parse_overrides(split_overrides(arguments)[1], "--config"), "--config")
        asked_settings(arguments)
    else:
        for path in named_configfiles(arguments):
            load_yaml(path)
    # Snakemake keeps a cache of its own before it reads the Snakefile.
    use_caches(load_site(site_file(workflow_folder())).caches)
    # This environment's Snakemake, whichever one comes first on PATH.
    command = [sys.executable, "-m", "snakemake", *from_anywhere(translated(arguments))]
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
