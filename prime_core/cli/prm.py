"""Commands of `prime` for process reward models: labelled responses, use as scorers."""

from __future__ import annotations

from pathlib import Path

import click

from prime_core.cli.options import COLUMN, FOLDER, RUN, TABLE
from prime_core.cli.rooms import tool


@click.command()
@RUN
@click.option("--iterations", required=True, metavar="FIRST-LAST", help="E.g. 1-3, or one number.")
@click.option("--out", required=True, type=TABLE, help="Parquet file to write.")
def labelled(run_dir: Path, iterations: str, out: Path) -> None:
    """Write a run's judged responses as a file that prm.offline can be trained on."""
    first, dash, last = iterations.partition("-")
    if not (first.isdigit() and (last if dash else first).isdigit()):
        raise click.UsageError(f"--iterations {iterations}: expected e.g. 1-3, or 4")
    tool("labelled").run(run_dir, range(int(first), int(last or first) + 1), out)


@click.command()
@click.option("--model", required=True, type=FOLDER, help="Folder of the implicit PRM.")
@click.option("--reference", required=True, type=FOLDER, help="Folder of its reference.")
@click.option(
    "--responses",
    required=True,
    type=TABLE,
    help="Parquet or JSON-lines file: prompt, response; outcome and prompt_id where known.",
)
@click.option("--out", required=True, type=TABLE, help="Parquet file to write.")
@click.option(
    "--granularity",
    type=click.Choice(["whole", "step", "token"]),
    default="step",
    show_default=True,
    help="The finest rewards to write; coarser ones are written as well.",
)
@click.option(
    "--beta",
    type=click.FloatRange(min=0, min_open=True),
    # the paper's, and that of the setting prm.beta
    default=0.05,
    show_default=True,
    help="Scale of the rewards: what the PRM was trained with.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Number format of the weights.",
)
@click.option(
    "--micro-batch-size", type=click.IntRange(min=1), default=8, help="Responses in one pass."
)
@COLUMN
def rate(**options: object) -> None:
    """Score responses with an implicit PRM: any model folder, with its reference."""
    tool("rate").run(**options)


COMMANDS = (labelled, rate)
