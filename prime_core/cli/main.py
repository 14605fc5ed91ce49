"""The command line: `prime <stage>` runs one stage on the files of a run.

Stages are imported when they run, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path

import click

from prime_core.cli import ablation, cluster, evaluation, prm, stages
from prime_core.cli.help import write_commands
from prime_core.cli.options import CONFIGFILE, OVERRIDES, Overridden
from prime_core.cli.rooms import tool
from prime_core.runtime import interruption
from prime_core.runtime.console import harmless, say
from prime_core.runtime.errors import sentence
from prime_core.runtime.rank import has_other_ranks, is_first_rank


class Stages(click.Group):
    """Commands in groups; user errors as one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order in which they were defined."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """In groups, whole sentences."""
        write_commands(self, ctx, formatter)

    def invoke(self, ctx: click.Context) -> object:
        """Run; an error of the user's making is one sentence, any other has its traceback."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except interruption.Interrupted as stop:
            end_for_now(f"{ctx.invoked_subcommand}: {stop}")
            ctx.exit(interruption.EXIT_STATUS)
        except Exception as error:
            if isinstance(error, BrokenPipeError) and reader_has_gone():
                ctx.exit(128 + signal.SIGPIPE)
            # ValueError and OSError are for what a user can mend; any other is a fault of ours.
            if ctx.params["debug"] or not isinstance(error, ValueError | OSError):
                print(harmless(traceback.format_exc()), end="", file=sys.stderr)
            say(f"prime {ctx.invoked_subcommand}: error: {sentence(error)}", error=True)
            ctx.exit(1)


def reader_has_gone() -> bool:
    """Whether standard output leads nowhere any more, as in `prime status | head`."""
    pipe = select.poll()
    pipe.register(sys.stdout.fileno(), 0)
    gone = any(state & select.POLLERR for _, state in pipe.poll(0))
    if gone:
        # Else Python complains when it flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


@click.group(
    cls=Stages,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Guides: README.md and docs/ in the repository, docs/clusters.md for Slurm. All "
    "settings: prime schema, docs/files.md for the files of a run.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="prime-on-slurm")
def main(debug: bool) -> None:
    """PRIME: runs of the workflow, what there is to see of them, and each of their stages.

    Every stage reads and writes the files of one run's folder, finished files only; running a
    stage again gives the same result.
    """


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Run the workflow: Snakemake, with dotted overrides (--config policy.eps_clip=0.3).

    All other options are Snakemake's own: -n for a dry run, --configfile, --profile, ...
    """
    import_module("prime_core.launch.snakemake_command").run(arguments)


@click.command(cls=Overridden)
@CONFIGFILE
@OVERRIDES
def configure(configfile: Path | None, overrides: tuple[str, ...]) -> None:
    """Check a settings file and write it, resolved, into its run's folder."""
    path = configfile or import_module("prime_core.launch.arguments").default_config()
    tool("configure").run(path, overrides)


@click.command()
@click.argument("name")
@click.option(
    "--from",
    "template",
    default="quickstart",
    show_default=True,
    metavar="TEMPLATE",
    help="quickstart, smollm2, gsm8k, paper/eurus2_7b_prime, ..., or a settings file of your own.",
)
@click.option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; default: configs/NAME.yaml.",
)
@click.option("--results", default="results", show_default=True, help="Folder of all runs.")
def new(name: str, template: str, to: Path | None, results: str) -> None:
    """Write a commented settings file for a new run, and say what to type next."""
    tool("new").run(name, template, to, results)


@click.command()
@click.option("--markdown", is_flag=True, help="Print docs/settings.md, for people.")
def schema(markdown: bool) -> None:
    """Print the JSON schema of the settings."""
    if markdown:
        click.echo(tool("settings_page").settings_page(), nl=False)
    else:
        tool("configure").print_schema()


def end_for_now(line: str) -> None:
    """Say where a stage stopped and requeue its Slurm job; once for all ranks."""
    # Slurm signals a job that is requeued: its exit status must stay 75 all the same.
    interruption.ignore_signals()
    if is_first_rank():
        told = import_module("prime_core.launch.slurm.this_job").put_back()
        say("; ".join(filter(None, (line, told))))
    if has_other_ranks():  # the first rank that ends takes the others along
        import_module("prime_core.training.distributed").barrier()


for command in (
    *stages.COMMANDS,
    run,
    new,
    configure,
    schema,
    *cluster.COMMANDS,
    *prm.COMMANDS,
    *evaluation.COMMANDS,
    *ablation.COMMANDS,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
