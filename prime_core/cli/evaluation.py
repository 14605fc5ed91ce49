"""Commands of `prime` for evaluations outside of a run: judging responses, comparing two models."""

from __future__ import annotations

from pathlib import Path

import click

from prime_core.cli.rooms import tool

TABLE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--benchmark", required=True, help="A name under evaluation.benchmarks.")
@click.option(
    "--config",
    "configs",
    multiple=True,
    type=TABLE,
    help="Settings with the benchmark; later files override earlier ones.",
)
@click.option(
    "--run",
    "run_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of a run whose settings are used, instead of --config.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting.")
@click.option(
    "--responses",
    required=True,
    type=TABLE,
    help="Parquet or JSON-lines file: prompt_id or prompt, response (one or a list), score.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="OURS=THEIRS",
    help="The file's name for a column.",
)
@click.option("--out", required=True, type=TABLE, help="Parquet file; figures beside it.")
def grade(configs: tuple[Path, ...], run_dir: Path | None, **options: object) -> None:
    """Judge responses to a benchmark that were sampled elsewhere: accuracy, pass@k, majority.

    With a column `score`, also best-of-n and weighted majority.
    """
    if bool(configs) == (run_dir is not None):
        raise click.UsageError("expected either --config or --run")
    if run_dir is not None and options["overrides"]:
        raise click.UsageError("--set changes settings of --config; those of a run are fixed")
    tool("grade").run(configs=configs, run_dir=run_dir, **options)


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--benchmark", help="Where FIRST and SECOND are runs: RUN, or RUN@ITERATION.")
@click.option("--out", type=TABLE, help="Also write the comparison to this JSON file.")
def compare(first: str, second: str, benchmark: str | None, out: Path | None) -> None:
    """Compare two models on the same problems: paired difference, interval, p-value.

    FIRST and SECOND are tables of judged responses, or folders of runs with --benchmark.
    """
    tool("compare").run(first, second, benchmark, out)


COMMANDS = (
    grade,
    compare,
)
