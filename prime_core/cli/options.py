"""Options that several commands share, each defined once; --config takes several values."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

TABLE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)

RUN = click.option(
    "--run",
    "run_dir",
    required=True,
    type=FOLDER,
    help="Folder of the run, results/<run>, with its config.yaml.",
)


def _iterations(_context: click.Context, _option: click.Parameter, text: str) -> range:
    first, dash, last = text.partition("-")
    if not (first.isdigit() and (last if dash else first).isdigit()):
        raise click.UsageError(f"--iterations {text}: expected e.g. 1-3, or 4")
    return range(int(first), int(last or first) + 1)


ITERATIONS = click.option(
    "--iterations",
    required=True,
    metavar="FIRST-LAST",
    callback=_iterations,
    help="E.g. 1-3, or one number.",
)
ITERATION = click.option(
    "--iteration", required=True, type=click.IntRange(min=1), help="RL iteration, from 1 on."
)
SHARD = click.option(
    "--shard",
    required=True,
    type=click.IntRange(min=0),
    help="Part of the iteration's prompts, from 0 on; refill rounds continue the numbering.",
)
MODEL = click.option(
    "--model",
    required=True,
    type=click.Choice(("policy", "prm", "value")),
    help="Which of the models that an iteration trains.",
)
# Whether the file exists is asked where it decides: with --run its default is not read.
CONFIGFILE = click.option(
    "--configfile",
    type=TABLE,
    help="Settings of the run, as for snakemake; default: the quickstart's.",
)
OVERRIDES = click.option(
    "--config",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE...",
    help="Override settings, e.g. policy.eps_clip=0.3 seed=1.",
)
COLUMN = click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="OURS=THEIRS",
    help="The file's name for a column.",
)


class Overridden(click.Command):
    """A command whose --config takes several KEY=VALUE, as Snakemake's does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give each value an option of its own, which is what click can read."""
        # Only here: the room reads settings, which takes longer than --help may.
        others, texts = import_module("prime_core.launch.arguments").split_overrides(args)
        given = [word for text in texts for word in ("--config", text)]
        return super().parse_args(ctx, [*others, *given])
