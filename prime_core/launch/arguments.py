"""What Snakemake's arguments say about a run: its settings and its folder, before anything starts.

In: arguments as Snakemake takes them (--configfile, --config, --directory, ...). Out: the settings
that the workflow will see, or the error that it would raise.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from prime_core.launch.slurm.first_folder import first_folder
from prime_core.runtime.repository import REPOSITORY
from prime_core.settings.reading import SettingsError, settings_of
from prime_core.settings.run import Settings

# The target that is a workflow of many runs (prime_core.ablations.plan).
ABLATIONS = "ablations"
_CONFIGFILES = ("--configfile", "--configfiles")
_OVERRIDES = ("--config", "-C")
_FOLDER = ("--directory", "-d")
_SNAKEFILE = ("--snakefile", "-s")
_PROFILE = ("--profile", "--workflow-profile")


def default_config() -> Path:
    """Settings of a run for which none are given: the quickstart's, as the Snakefile has it."""
    return Path(os.path.relpath(workflow_folder() / "configs" / "quickstart.yaml"))


def asked_settings(arguments: Sequence[str]) -> Settings:
    """Settings of the run that Snakemake would start; its folder is relative to the current one.

    Raises SettingsError naming the file or the override, and the key.
    """
    others, overrides = split_overrides(arguments)
    folder = Path()
    for option, value in _options(others):
        if option in _FOLDER:
            folder = Path(value)
    configfiles = named_configfiles(others) or [default_config()]
    settings = settings_of(configfiles, overrides)
    return settings.model_copy(update={"results": str(folder / settings.results)})


def named_configfiles(arguments: Sequence[str]) -> list[Path]:
    """The files of --configfile, in order."""
    return [Path(value) for option, value in _options(arguments) if option in _CONFIGFILES]


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments without any --config, and the KEY=VALUE texts of all of them."""
    # All of them: Snakemake's parser keeps only the last --config, so they must become one.
    others: list[str] = []
    texts: list[str] = []
    inside = joined = False
    for argument in arguments:
        if argument in _OVERRIDES:
            inside, joined = True, False
        elif argument.startswith("--config="):
            texts.append(argument.partition("=")[2])
            inside = joined = True
        # As argparse reads an option with any number of values: up to the next option. A joined one
        # has its value already: `--config=a=1 all` names a target.
        elif inside and not argument.startswith("-") and ("=" in argument or not joined):
            texts.append(argument)
        else:
            others.append(argument)
            inside = False
    return others, texts


def from_anywhere(arguments: Sequence[str]) -> list[str]:
    """The arguments with this checkout's Snakefile and profiles, where this folder has none."""
    found = list(arguments)
    named = dict(_options(arguments))
    for option in {*_PROFILE} & {*named}:
        value = named[option]
        if not Path(value).exists() and (REPOSITORY / value).is_dir():
            there = str(REPOSITORY / value)
            changed = {value: there, f"{option}={value}": f"{option}={there}"}
            found = [changed.get(word, word) for word in found]
    if not {*_SNAKEFILE} & {*named} and workflow_folder() == REPOSITORY != Path.cwd():
        # In front, where no option with any number of values can take it for one of them.
        found = ["--snakefile", str(REPOSITORY / "Snakefile"), *found]
    return found


def workflow_folder() -> Path:
    """The folder of the Snakefile and of the site's files: this one, else the checkout's."""
    return Path.cwd() if Path("Snakefile").exists() else REPOSITORY


def refuse_unknown_options(arguments: Sequence[str]) -> None:
    """Raise SettingsError for an option that Snakemake does not have: nobody else would read it."""
    from snakemake.cli import get_argument_parser

    known = tuple(get_argument_parser()._option_string_actions)
    for argument in arguments:
        name = argument.partition("=")[0]
        if argument == "--":
            return
        if not name.startswith("-") or name[1:2].isdigit() or name == "-":
            continue
        # As argparse has it: a long option may be cut short, a short one joined to its value.
        if not (
            name[:2] in known if name[1] != "-" else any(one.startswith(name) for one in known)
        ):
            raise SettingsError(f"{name}: no such option, neither of this command nor of Snakemake")


def asks_for_ablations(arguments: Sequence[str]) -> bool:
    """Whether `ablations` is one of Snakemake's targets, not just an option's value."""
    return ABLATIONS in arguments and ABLATIONS in as_snakemake_reads(arguments).targets


def as_snakemake_reads(arguments: Sequence[str]) -> Any:
    """Snakemake's command line as Snakemake itself parses it, profiles included."""
    from snakemake.cli import parse_args  # takes 0.1 s, which an ordinary run need not spend

    # Snakemake has already announced its profile, whose path is relative to where it was typed.
    with contextlib.chdir(first_folder()), redirect_stderr(io.StringIO()):
        return parse_args(list(arguments))[1]


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs (option, value); an option with several values comes once for each."""
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
