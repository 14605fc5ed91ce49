"""What Snakemake's arguments say about a run: its settings and its folder, before anything starts.

In: arguments as Snakemake takes them (--configfile, --config, --directory, ...). Out: the settings
that the workflow will see, refused with the same sentences.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import yaml

from prime_core.settings.reading import (
    SettingsError,
    expand_dotted,
    load_yaml,
    merged,
    parse_settings,
)
from prime_core.settings.run import Settings

# The target that is a workflow of many runs (prime_core.ablations.plan).
ABLATIONS = "ablations"
DEFAULT_CONFIG = Path("configs/quickstart.yaml")
_CONFIGFILES = ("--configfile", "--configfiles")
_OVERRIDES = ("--config", "-C")
_FOLDER = ("--directory", "-d")


def asked_settings(arguments: Sequence[str]) -> Settings:
    """Settings of the run that Snakemake would start, its folder seen from here.

    Raises SettingsError naming the file or the override, and the key.
    """
    configfiles: list[Path] = []
    overrides: dict[str, Any] = {}
    folder = Path()
    for option, value in _options(arguments):
        if option in _CONFIGFILES:
            configfiles.append(Path(value))
        elif option in _OVERRIDES:
            overrides |= _override(value)
        elif option in _FOLDER:
            folder = Path(value)
    raw: dict[str, Any] = {}
    for path in configfiles or [DEFAULT_CONFIG]:
        raw = merged(raw, expand_dotted(load_yaml(path)))
    source = ", ".join(map(str, configfiles or [DEFAULT_CONFIG]))
    raw = merged(raw, expand_dotted(overrides))
    settings = parse_settings(raw, f"{source} and --config" if overrides else source)
    return settings.model_copy(update={"results": str(folder / settings.results)})


def asks_for_ablations(arguments: Sequence[str]) -> bool:
    """Whether `ablations` is among Snakemake's targets, and not an option's value alone."""
    return ABLATIONS in arguments and ABLATIONS in as_snakemake_reads(arguments).targets


def as_snakemake_reads(arguments: Sequence[str]) -> Any:
    """Snakemake's command line as it reads it itself, profiles included."""
    from snakemake.cli import parse_args  # a tenth of a second that an ordinary run need not spend

    with redirect_stderr(io.StringIO()):  # it has said before which profile it uses
        return parse_args(list(arguments))[1]


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each value with its option; an option of several values comes once for each."""
    option = ""
    for argument in arguments:
        if argument.startswith("--") and "=" in argument:
            name, _, value = argument.partition("=")
            yield name, value
            option = ""
        elif argument.startswith("-") and len(argument) > 1:
            option = argument
        elif option:
            yield option, argument
            if option in _FOLDER:  # takes one value: what follows is a target
                option = ""


def _override(text: str) -> dict[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise SettingsError(f"--config {text}: expected KEY=VALUE")
    try:
        return {key: yaml.safe_load(value)}
    except yaml.YAMLError as error:
        raise SettingsError(f"--config {text}: not readable as YAML: {error}") from None
