"""Commands of `prime` for evaluations outside of a run: judging responses, comparing two models."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from prime_core.cli.options import COLUMN, FOLDER, ITERATIONS, OVERRIDES, RUN, TABLE, Overridden
from prime_core.cli.rooms import tool


@click.command(cls=Overridden)
@click.option("--benchmark", required=True, help="A name under evaluation.benchmarks.")
@click.option(
    "--configfile",
    "configfiles",
    multiple=True,
    type=TABLE,
    help="Settings with the benchmark; later files override earlier ones.",
)
@OVERRIDES
@click.option(
    "--run",
    "run_dir",
    type=FOLDER,
    help="Folder of a run whose settings are used, instead of --configfile.",
)
@click.option(
    "--responses",
    required=True,
    type=TABLE,
    help="Parquet or JSON-lines file: prompt_id or prompt, response (one or a list), score.",
)
@COLUMN
@click.option("--out", required=True, type=TABLE, help="Parquet file; figures beside it.")
def grade(configfiles: tuple[Path, ...], run_dir: Path | None, **options: object) -> None:
    """Judge responses to a benchmark that were sampled elsewhere: accuracy, pass@k, majority.

    With a column `score`, also best-of-n and weighted majority.
    """
    if bool(configfiles) == (run_dir is not None):
        raise click.UsageError("expected either --configfile or --run")
    if run_dir is not None and options["overrides"]:
        raise click.UsageError(
            "--config changes settings of --configfile; those of a run are fixed"
        )
    tool("grade").run(configfiles=configfiles, run_dir=run_dir, **options)


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


@click.command("agent-credit")
@RUN
@ITERATIONS
@click.option("--out", required=True, type=TABLE, help="JSON file to write.")
def agent_credit(run_dir: Path, iterations: range, out: Path) -> None:
    """Compare the credit of an agent's turns with the exact advantage of its policy."""
    tool("agent_credit").run(run_dir, iterations, out)


@click.command()
@RUN
@click.option(
    "--to",
    required=True,
    type=click.Choice(["wandb", "trackio", "mlflow", "swanlab"]),
    help="Where to; its own variables say more, e.g. WANDB_MODE=offline or MLFLOW_TRACKING_URI.",
)
@click.option("--project", default="prime", show_default=True, help="Project or experiment there.")
@click.option("--once", is_flag=True, help="Send what there is and end; else follow the run.")
@click.option(
    "--interval",
    type=click.FloatRange(min=1),
    default=30.0,
    show_default=True,
    help="Seconds between looks at the run.",
)
def track(run_dir: Path, to: str, project: str, once: bool, interval: float) -> None:
    """Mirror a run's figures into an experiment tracker while it goes; started again, continue."""
    import_module("prime_core.tracking.track").run(run_dir, to, project, once, interval)


COMMANDS = (
    track,
    grade,
    compare,
    agent_credit,
)
