"""What Snakemake's arguments say about a run: its settings and its folder, before anything starts.

In: arguments as Snakemake takes them (--configfile, --config, --directory, ...). Out: the settings
that the workflow will see, refused with the same sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from prime_core.config import SettingsError, expand_dotted, load_yaml, parse_settings
from prime_core.settings import Settings

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
        raw = _merged(raw, expand_dotted(load_yaml(path)))
    source = ", ".join(map(str, configfiles or [DEFAULT_CONFIG]))
    raw = _merged(raw, expand_dotted(overrides))
    settings = parse_settings(raw, f"{source} and --config" if overrides else source)
    return settings.model_copy(update={"results": str(folder / settings.results)})


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


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, mapping by mapping, as Snakemake merges its settings."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _merged(below, value) if both and below is not None else value
    return merged
