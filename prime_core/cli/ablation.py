"""Commands of `prime` for `snakemake ablations`: one run of it, and the report of all."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("settings", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Small JSON file that marks the run as finished.",
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def ablation(settings: Path, out: Path, options: tuple[str, ...]) -> None:
    """Run one run of `snakemake ablations` to completion; other options are Snakemake's."""
    import_module("prime_core.ablations.run").run(settings, out, options)


@click.command()
@click.option(
    "--results",
    required=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of the ablations, with ablations.yaml in it.",
)
@click.option(
    "--settings",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep a copy of the reported settings under this name.",
)
def ablations_report(results: Path, settings: Path | None) -> None:
    """Compare the runs of `snakemake ablations`, finished or not: page, tables, figures."""
    import_module("prime_core.ablations.report").run(results, settings)


COMMANDS = (
    ablation,
    ablations_report,
)
