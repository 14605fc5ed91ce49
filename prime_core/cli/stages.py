"""Commands of `prime` that the rules call: one per stage, in the order of the workflow."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import click

from prime_core.cli.options import FOLDER, ITERATION, MODEL, RUN, SHARD, TABLE
from prime_core.cli.rooms import stage, tool


@click.command()
@RUN
def build(run_dir: Path) -> None:
    """Link, fetch or build the model that the run starts from."""
    stage("build").run(run_dir)


@click.command()
@RUN
def prepare(run_dir: Path) -> None:
    """Write the tables of problems and demonstrations."""
    stage("prepare").run(run_dir)


@click.command()
@RUN
def sft(run_dir: Path) -> None:
    """Warm the model up on demonstrations; set up policy, reference and PRM."""
    stage("sft").run(run_dir)


@click.command()
@RUN
@SHARD
def difficulty(run_dir: Path, shard: int) -> None:
    """Let the start model try one shard of the training problems (data.difficulty)."""
    stage("difficulty").run(run_dir, shard)


@click.command()
@RUN
def band(run_dir: Path) -> None:
    """Keep the training problems that are neither too easy nor too hard (data.difficulty)."""
    stage("band").run(run_dir)


@click.command()
@RUN
def branch(run_dir: Path) -> None:
    """Take over what a run starts from: an iteration of another run (init_from)."""
    stage("branch").run(run_dir)


@click.command("prm-data")
@RUN
def prm_data(run_dir: Path) -> None:
    """Tokenise labelled responses, with their log-probabilities under the reference."""
    stage("prm_data").run(run_dir)


@click.command("prm-offline")
@RUN
def prm_offline(run_dir: Path) -> None:
    """Train the run's first PRM on the labelled responses."""
    stage("prm_offline").run(run_dir)


@click.command()
@RUN
@ITERATION
@SHARD
def sample(run_dir: Path, iteration: int, shard: int) -> None:
    """Draw responses for one shard of an iteration's prompts."""
    stage("sample").run(run_dir, iteration, shard)


@click.command()
@click.option(
    "--run", "run_dir", type=FOLDER, help="Folder of the run, with --iteration and --shard."
)
@click.option("--iteration", type=click.IntRange(min=1), help="RL iteration, from 1 on.")
@click.option("--shard", type=click.IntRange(min=0), help="Part of the iteration's prompts.")
@click.option("--text", help="Judge this one response, with --gold, and explain.")
@click.option("--gold", multiple=True, help="Its correct answer; repeat for alternatives.")
@click.option(
    "--rows",
    type=TABLE,
    help="Judge a JSON-lines file: response, ground_truth and ability (math unless stated; code: "
    "the ground truth is a program's tests); or program, tests.",
)
@click.option("--out", type=TABLE, help="Parquet file for the judged --rows.")
@click.option("--function", help="FILE.py:NAME, as verification.function, judges --text.")
def verify(
    run_dir: Path | None,
    iteration: int | None,
    shard: int | None,
    text: str | None,
    gold: tuple[str, ...],
    rows: Path | None,
    out: Path | None,
    function: str | None,
) -> None:
    """Judge a shard of responses, a single answer, or a file of rows; needs no GPU."""
    # Not by truth: the first shard is 0, and a response may be empty.
    ways = (
        {"--run": run_dir, "--iteration": iteration, "--shard": shard},
        {"--text": text, "--gold": gold or None},
        {"--rows": rows, "--out": out},
    )
    begun = [way for way in ways if any(value is not None for value in way.values())]
    if len(begun) != 1:
        raise click.UsageError(
            "expected --run, --iteration and --shard; or --text and --gold; or --rows and --out"
        )
    missing = [name for name, value in begun[0].items() if value is None]
    if missing:
        given = next(name for name in begun[0] if name not in missing)
        raise click.UsageError(f"{' and '.join(missing)} missing beside {given}")
    if function is not None and text is None:
        raise click.UsageError("--function judges --text; a run has its own verification.function")
    if run_dir is not None:
        stage("verify").run(run_dir, iteration, shard)
    elif text is not None:
        truth = gold[0] if len(gold) == 1 else json.dumps(gold)
        tool("judge").judge_text(text, truth, function=function)
    else:
        tool("judge").judge_rows(rows, out)


@click.command()
@RUN
@ITERATION
def select(run_dir: Path, iteration: int) -> None:
    """Filter the judged groups into the batch that is trained on."""
    stage("select").run(run_dir, iteration)


@click.command()
@RUN
@ITERATION
def score(run_dir: Path, iteration: int) -> None:
    """Compute the implicit rewards of the batch's tokens."""
    stage("score").run(run_dir, iteration)


@click.command()
@RUN
@ITERATION
def values(run_dir: Path, iteration: int) -> None:
    """Compute the values of the batch's states under the value model (PPO)."""
    stage("values").run(run_dir, iteration)


@click.command()
@RUN
@ITERATION
@SHARD
def continuations(run_dir: Path, iteration: int, shard: int) -> None:
    """Continue a shard of the batch's responses from between their steps (monte_carlo)."""
    stage("continuations").run(run_dir, iteration, shard)


@click.command("step-values")
@RUN
@ITERATION
def step_values(run_dir: Path, iteration: int) -> None:
    """Judge the continuations and average them into values of steps; needs no GPU."""
    stage("step_values").run(run_dir, iteration)


@click.command()
@RUN
@ITERATION
def prm(run_dir: Path, iteration: int) -> None:
    """Update the implicit process reward model on the batch."""
    stage("prm").run(run_dir, iteration)


@click.command()
@RUN
@ITERATION
def value(run_dir: Path, iteration: int) -> None:
    """Update the value model on the batch (PPO)."""
    stage("value").run(run_dir, iteration)


@click.command()
@RUN
@ITERATION
def policy(run_dir: Path, iteration: int) -> None:
    """Compute advantages and update the policy on the batch."""
    stage("policy").run(run_dir, iteration)


@click.command("save-state")
@RUN
@ITERATION
@MODEL
def save_state(run_dir: Path, iteration: int, model: str) -> None:
    """Copy a training state from memory into the run's folder (training.state_storage)."""
    stage("save_state").run(run_dir, iteration, model)


@click.command()
@RUN
@click.option("--iteration", required=True, type=click.IntRange(min=0), help="0: the start model.")
@click.option("--benchmark", required=True, help="A name under evaluation.benchmarks, or steps.")
@click.option("--shard", type=click.IntRange(min=0), help="Sample this part of the problems alone.")
@click.option("--of", type=click.IntRange(min=1), help="How many parts there are.")
def evaluate(
    run_dir: Path, iteration: int, benchmark: str, shard: int | None, of: int | None
) -> None:
    """Evaluate the policy of an iteration on one benchmark, or one shard of it.

    Without --shard a benchmark with num_shards is joined from its shards.
    """
    if (shard is None) != (of is None) or (shard is not None and of is not None and shard >= of):
        raise click.UsageError("expected --shard K and --of N with K from 0 to N - 1, or neither")
    if shard is None or of is None:
        stage("evaluate").run(run_dir, iteration, benchmark)
    else:
        stage("evaluate").run_shard(run_dir, iteration, benchmark, shard, of)


@click.command()
@click.option("--run", "run_dir", type=FOLDER, help="Folder of the run, results/<run>.")
@click.option(
    "--no-record", is_flag=True, help="Without ro-crate.zip and Slurm's hours, as while a run goes."
)
@click.option("--compare", is_flag=True, help="Instead, one page of the runs named: RUN RUN...")
@click.option(
    "--out",
    type=TABLE,
    default=Path("comparison.html"),
    show_default=True,
    help="File of that page.",
)
@click.argument("runs", nargs=-1, type=FOLDER, metavar="[RUN]...")
def report(
    run_dir: Path | None, no_record: bool, compare: bool, out: Path, runs: tuple[Path, ...]
) -> None:
    """Write the report: HTML page, CSV tables, TensorBoard events, RO-Crate."""
    if compare and run_dir is None and len(runs) > 1:
        tool("overlay").run(runs, out)
        return
    if run_dir is None or compare or runs:
        raise click.UsageError("expected --run RUN; or --compare and two runs or more")
    if not no_record:
        # Here, since no stage may import `launch` (docs/decisions.md#rooms).
        import_module("prime_core.launch.accounting.accounts").refresh(run_dir)
    stage("report").run(run_dir, record=not no_record)


@click.command()
@RUN
def crate(run_dir: Path) -> None:
    """Pack settings, versions, figures and report as an RO-Crate (`prime report` does so, too)."""
    stage("crate").run(run_dir)


COMMANDS = (
    build,
    prepare,
    sft,
    difficulty,
    band,
    branch,
    prm_data,
    prm_offline,
    sample,
    verify,
    select,
    score,
    values,
    continuations,
    step_values,
    prm,
    value,
    policy,
    save_state,
    evaluate,
    report,
    crate,
)
