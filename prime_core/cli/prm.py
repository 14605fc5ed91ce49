"""Commands of `prime` for process reward models: labelled responses, use as scorers."""

from __future__ import annotations

from pathlib import Path

import click

from prime_core.cli.options import COLUMN, FOLDER, ITERATIONS, RUN, TABLE
from prime_core.cli.rooms import tool

MODEL = click.option("--model", required=True, type=FOLDER, help="Folder of the implicit PRM.")
REFERENCE = click.option("--reference", required=True, type=FOLDER, help="Folder of its reference.")
BETA = click.option(
    "--beta",
    type=click.FloatRange(min=0, min_open=True),
    # the paper's, and that of the setting prm.beta
    default=0.05,
    show_default=True,
    help="Scale of the rewards: what the PRM was trained with.",
)
DTYPE = click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Number format of the weights.",
)
MICRO_BATCH_SIZE = click.option(
    "--micro-batch-size", type=click.IntRange(min=1), default=8, help="Responses in one pass."
)


@click.command()
@RUN
@ITERATIONS
@click.option("--out", required=True, type=TABLE, help="Parquet file to write.")
def labelled(run_dir: Path, iterations: range, out: Path) -> None:
    """Write a run's judged responses as a file that prm.offline can be trained on."""
    tool("labelled").run(run_dir, iterations, out)


@click.command()
@MODEL
@REFERENCE
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
@BETA
@DTYPE
@MICRO_BATCH_SIZE
@COLUMN
def rate(**options: object) -> None:
    """Score responses with an implicit PRM: any model folder, with its reference."""
    tool("rate").run(**options)


@click.command("rate-steps")
@MODEL
@REFERENCE
@click.option(
    "--file",
    "files",
    required=True,
    multiple=True,
    metavar="[NAME=]FILE",
    help="Parquet or JSON-lines file, as ProcessBench has them: problem, steps, label; "
    "final_answer_correct where known. Several may be given.",
)
@click.option(
    "--threshold",
    metavar="NAME",
    help="The file on which the threshold is chosen that the others use; default: the first.",
)
@click.option("--out", required=True, type=TABLE, help="Parquet file; figures beside it.")
@BETA
@DTYPE
@MICRO_BATCH_SIZE
@click.option("--num-rows", type=click.IntRange(min=1), help="Only so many rows of each file.")
@COLUMN
def rate_steps(**options: object) -> None:
    """Find the first wrong step of solutions with an implicit PRM: F1 as in ProcessBench.

    Beside it stands what an outcome alone reaches by pointing at a fixed place.
    """
    tool("rate_steps").run(**options)


COMMANDS = (labelled, rate, rate_steps)
