"""The command line: `prime <stage>` runs one stage on the files of a run.

Stages are imported when they run, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click

from prime_core.cli import ablation as ablation_commands
from prime_core.cli import cluster as cluster_commands
from prime_core.cli import evaluation as evaluation_commands
from prime_core.cli import prm as prm_commands
from prime_core.runtime import interruption

RUN = click.option(
    "--run",
    "run_dir",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the run, results/<run>, with its config.yaml.",
)
ITERATION = click.option(
    "--iteration", required=True, type=click.IntRange(min=1), help="RL iteration, from 1 on."
)
SHARD = click.option(
    "--shard",
    required=True,
    type=click.IntRange(min=0),
    help="Part of the iteration's prompts, from 0 on; refill rounds go on counting.",
)


class Stages(click.Group):
    """Commands in the order of the workflow; errors of users as one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order in which they were defined."""
        return list(self.commands)

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
            if ctx.params["debug"] or not isinstance(error, ValueError | OSError):
                traceback.print_exc()
            message = f"prime {ctx.invoked_subcommand}: error: {sentence(error)}"
            print(message, file=sys.stderr)
            if not sys.stderr.isatty():  # the workflow sends it to a log: show it there as well
                print(message, flush=True)
            ctx.exit(1)


def sentence(error: Exception) -> str:
    """What went wrong, with the file's name where the system gives one."""
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}"
    return str(error) or type(error).__name__


@click.group(cls=Stages, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="prime-on-slurm")
def main(debug: bool) -> None:
    """PRIME, stage by stage. The workflow (`snakemake`) calls these same commands.

    Every stage reads and writes the files of one run's folder, finished files only; running a
    stage again gives the same result.
    """


@main.command()
@RUN
def build(run_dir: Path) -> None:
    """Link, fetch or build the model that the run starts from."""
    stage("build").run(run_dir)


@main.command()
@RUN
def prepare(run_dir: Path) -> None:
    """Write the tables of problems and demonstrations."""
    stage("prepare").run(run_dir)


@main.command()
@RUN
def sft(run_dir: Path) -> None:
    """Warm the model up on demonstrations; set up policy, reference and PRM."""
    stage("sft").run(run_dir)


@main.command()
@RUN
@SHARD
def difficulty(run_dir: Path, shard: int) -> None:
    """Let the start model try one shard of the training problems (data.difficulty)."""
    stage("difficulty").run(run_dir, shard)


@main.command()
@RUN
def band(run_dir: Path) -> None:
    """Keep the training problems that are neither too easy nor too hard (data.difficulty)."""
    stage("band").run(run_dir)


@main.command()
@RUN
@ITERATION
@SHARD
def sample(run_dir: Path, iteration: int, shard: int) -> None:
    """Draw responses for one shard of an iteration's prompts."""
    stage("sample").run(run_dir, iteration, shard)


@main.command()
@click.option(
    "--run",
    "run_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the run, with --iteration and --shard.",
)
@click.option("--iteration", type=click.IntRange(min=1), help="RL iteration, from 1 on.")
@click.option("--shard", type=click.IntRange(min=0), help="Part of the iteration's prompts.")
@click.option("--text", help="Judge this one response, with --gold, and explain.")
@click.option("--gold", multiple=True, help="Its right answer; several are each right.")
@click.option(
    "--rows",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Judge a JSON-lines file (response, ground_truth; or program, tests).",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Parquet file for the judged --rows.",
)
def verify(
    run_dir: Path | None,
    iteration: int | None,
    shard: int | None,
    text: str | None,
    gold: tuple[str, ...],
    rows: Path | None,
    out: Path | None,
) -> None:
    """Judge a shard of responses, one answer by hand, or a file of rows; needs no GPU."""
    if run_dir is not None and iteration is not None and shard is not None:
        stage("verify").run(run_dir, iteration, shard)
    elif text is not None and gold:
        stage("verify").judge_text(text, gold[0] if len(gold) == 1 else json.dumps(gold))
    elif rows is not None and out is not None:
        stage("verify").judge_rows(rows, out)
    else:
        raise click.UsageError(
            "expected --run, --iteration and --shard; or --text and --gold; or --rows and --out"
        )


@main.command()
@RUN
@ITERATION
def select(run_dir: Path, iteration: int) -> None:
    """Filter the judged groups into the batch that is trained on."""
    stage("select").run(run_dir, iteration)


@main.command()
@RUN
@ITERATION
def score(run_dir: Path, iteration: int) -> None:
    """Compute the implicit rewards of the batch's tokens."""
    stage("score").run(run_dir, iteration)


@main.command()
@RUN
@ITERATION
def prm(run_dir: Path, iteration: int) -> None:
    """Update the implicit process reward model on the batch."""
    stage("prm").run(run_dir, iteration)


@main.command()
@RUN
@ITERATION
def values(run_dir: Path, iteration: int) -> None:
    """Compute the values of the batch's states under the value model (PPO)."""
    stage("values").run(run_dir, iteration)


@main.command()
@RUN
@ITERATION
def value(run_dir: Path, iteration: int) -> None:
    """Update the value model on the batch (PPO)."""
    stage("value").run(run_dir, iteration)


@main.command()
@RUN
@ITERATION
def policy(run_dir: Path, iteration: int) -> None:
    """Compute advantages and update the policy on the batch."""
    stage("policy").run(run_dir, iteration)


@main.command()
@RUN
@click.option("--iteration", required=True, type=click.IntRange(min=0), help="0: the start model.")
@click.option("--benchmark", required=True, help="A name under evaluation.benchmarks.")
def evaluate(run_dir: Path, iteration: int, benchmark: str) -> None:
    """Evaluate the policy of an iteration on one benchmark."""
    stage("evaluate").run(run_dir, iteration, benchmark)


@main.command()
@RUN
def report(run_dir: Path) -> None:
    """Write the report: HTML page, CSV tables, TensorBoard events, RO-Crate."""
    import_module("prime_core.launch.accounting.accounts").refresh(run_dir)
    stage("report").run(run_dir)


@main.command()
@RUN
def crate(run_dir: Path) -> None:
    """Pack settings, versions, figures and report as an RO-Crate (the report does it, too)."""
    stage("crate").run(run_dir)


@main.command()
@RUN
def branch(run_dir: Path) -> None:
    """Take over what a run goes on from: an iteration of another (init_from)."""
    stage("branch").run(run_dir)


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Run the workflow: Snakemake, with dotted overrides (--config policy.eps_clip=0.3).

    All other options are Snakemake's own: -n for a dry run, --configfile, --profile, ...
    """
    import_module("prime_core.launch.snakemake_command").run(arguments)


@main.command()
@click.argument("config", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting.")
def configure(config: Path, overrides: tuple[str, ...]) -> None:
    """Check a settings file and write it, resolved, into its run's folder."""
    stage("configure").run(config, overrides)


@main.command()
def schema() -> None:
    """Print the JSON schema of the settings."""
    stage("configure").print_schema()


cluster_commands.add_to(main)


def end_for_now(line: str) -> None:
    """Say where a stage stopped and put its Slurm job back into the queue; once for all ranks."""
    interruption.ignore_signals()
    if os.environ.get("RANK", "0") == "0":
        told = import_module("prime_core.launch.slurm.this_job").put_back()
        print("; ".join(filter(None, (line, told))), flush=True)
    if os.environ.get("WORLD_SIZE", "1") != "1":  # the first rank that ends takes the others along
        import_module("prime_core.training.distributed").meet()


def stage(name: str) -> ModuleType:
    """The module of one stage, in a process that knows its rank and how it is told to stop."""
    interruption.listen(import_module("prime_core.launch.slurm.this_job").is_only_warned)
    import_module("prime_core.launch.slurm.ranks").set_up_rank()
    if "PRIME_DEADLINE" in os.environ:
        begin_in_time(name)
    return import_module(f"prime_core.stages.{name}")


def begin_in_time(name: str) -> None:
    """Leave a stage of the workflow for the next allocation where this one has too little time."""
    given = click.get_current_context().params
    if given.get("run_dir"):
        shard, benchmark = given.get("shard"), given.get("benchmark")
        part = benchmark or ("" if shard is None else f"{shard:02d}")
        deadline = import_module("prime_core.run.deadline")
        deadline.leave_if_too_late(given["run_dir"], name, given.get("iteration") or 0, part)


prm_commands.add_to(main, stage)
evaluation_commands.add_to(main, stage)
ablation_commands.add_to(main, stage)


if __name__ == "__main__":
    main()
