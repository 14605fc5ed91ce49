"""`prime doctor`, `site`, `launch`, `status`, ...: the commands around the workflow.

Only click is imported here; each command loads its own part when it runs.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from prime_core.cli.options import CONFIGFILE, FOLDER, TABLE

RUN_DIR = click.option(
    "--run",
    "run_dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of the run, results/<run>; default: that of --configfile.",
)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--profile",
    type=click.Choice(["slurm", "allocation"]),
    default="slurm",
    show_default=True,
    help="Every stage a Slurm job, or all stages inside one allocation.",
)
@click.option("--minutes", type=click.IntRange(min=1), help="Time limit of the job itself.")
@click.option("--gpus-per-node", type=click.IntRange(min=0), help="GPUs of the allocation's nodes.")
@click.option("--nodes", type=click.IntRange(min=1), help="Nodes of the allocation.")
@click.option(
    "--allocation",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Size of the allocation; default: cluster_profiles/allocation/allocation.yaml.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be submitted.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def launch(
    profile: str,
    minutes: int | None,
    gpus_per_node: int | None,
    nodes: int | None,
    allocation: Path | None,
    dry_run: bool,
    arguments: tuple[str, ...],
) -> None:
    """Run the workflow as a Slurm job, which requeues itself before its time limit.

    All other options are Snakemake's own: --configfile, --config policy.eps_clip=0.3, ...
    `prime launch ablations` launches all runs of the ablations.
    """
    module = import_module("prime_core.launch.launch")
    options = module.Options(profile, minutes, gpus_per_node, nodes, allocation, dry_run)
    if import_module("prime_core.launch.arguments").asks_for_ablations(arguments):
        import_module("prime_core.ablations.launch").run(options, arguments)
        return
    module.run(options, arguments)
    if hint := import_module("prime_core.planning.advice").quicker_way(arguments, profile):
        import_module("prime_core.runtime.console").note(hint)


JSON = click.option("--json", is_flag=True, help="Print JSON, for programs.")
INTERVAL = click.option(
    "--interval",
    type=click.FloatRange(min=1),
    default=10.0,
    show_default=True,
    help="Seconds between updates, with --watch.",
)


@click.command()
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("results"),
    show_default=True,
    help="Folder that holds the runs.",
)
@JSON
@click.option("--watch", is_flag=True, help="Repeat until all runs have finished.")
@INTERVAL
def runs(results: Path, json: bool, watch: bool, interval: float) -> None:
    """Show every run of a results folder in a line: state, progress, accuracy, hours, jobs."""
    import_module("prime_core.launch.status.runs").show(results, json, watch, interval)


@click.command()
@RUN_DIR
@CONFIGFILE
@JSON
@click.option("--watch", is_flag=True, help="Repeat until the run has finished.")
@INTERVAL
def status(
    run_dir: Path | None, configfile: Path | None, json: bool, watch: bool, interval: float
) -> None:
    """Show what of a run is done, running and failed, and when it will end."""
    run = which_run(run_dir, configfile)
    import_module("prime_core.launch.status.page").show(run, json, watch, interval)


@click.command()
@RUN_DIR
@CONFIGFILE
@click.option("--yes", is_flag=True, help="Do not ask.")
def cancel(run_dir: Path | None, configfile: Path | None, yes: bool) -> None:
    """End a run's controller and all of its Slurm jobs; what is finished stays."""
    module = import_module("prime_core.launch.status.cancel")
    run = which_run(run_dir, configfile)
    found = module.at_work(run)
    if not found:
        click.echo(f"{run}: nothing is running")
        return
    click.echo(f"{run}: {found}")
    # A script that calls this means it, and has nobody to ask.
    if not yes and sys.stdin.isatty():
        click.confirm("Cancel all of it?", abort=True)
    module.cancel(run)


@click.command()
@click.argument("words", nargs=-1, metavar="[ITERATION] [STAGE] [PART]")
@RUN_DIR
@CONFIGFILE
@click.option("--part", help="Shard or benchmark, if not after the stage; default: the newest.")
@click.option("-f", "--follow", is_flag=True, help="Keep printing as it grows, until Ctrl-C.")
def logs(
    words: tuple[str, ...],
    run_dir: Path | None,
    configfile: Path | None,
    part: str | None,
    follow: bool,
) -> None:
    """Show a stage's newest log (prime logs 12 sample 03); without arguments, the controller's."""
    run = which_run(run_dir, configfile)
    import_module("prime_core.launch.status.logs").show(run, words, part, follow)


@click.command(hidden=True, context_settings={"ignore_unknown_options": True})
@click.argument("count", type=click.IntRange(min=1))
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def gpus(count: int, command: tuple[str, ...]) -> None:
    """Run a command on COUNT of the visible GPUs that no other stage holds (one allocation)."""
    import_module("prime_core.launch.slurm.gpus").become(count, command)


def which_run(run_dir: Path | None, configfile: Path | None) -> Path:
    """The run's folder as given, else the one that the settings name."""
    if run_dir is not None:
        return run_dir
    path = configfile or import_module("prime_core.launch.arguments").default_config()
    return import_module("prime_core.settings.reading").load_settings(path).run_dir


@click.command()
@click.option(
    "--cpu-partition", multiple=True, help="Where verification and other small work goes."
)
@click.option(
    "--gpu-partition",
    multiple=True,
    help="Where sampling, scoring and training go; given twice, wherever a job starts first.",
)
@click.option("--account", default="", help="Account to charge; default: your default account.")
@click.option(
    "--out",
    type=TABLE,
    help="File to write; default: cluster_profiles/slurm/site.yaml.",
)
@click.option("--dry-run", is_flag=True, help="Only show what was found and would be written.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def site(
    cpu_partition: tuple[str, ...],
    gpu_partition: tuple[str, ...],
    account: str,
    out: Path | None,
    dry_run: bool,
    force: bool,
) -> None:
    """Query Slurm for partitions, GPUs and limits; choose; write the site's file."""
    wanted = import_module("prime_core.launch.survey.choice").Wanted(
        cpu_partition, gpu_partition, account
    )
    import_module("prime_core.launch.survey.survey").survey(wanted, out, dry_run, force)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--to",
    type=FOLDER,
    help="Cache to use instead of the environment's, e.g. one shared by a group.",
)
@click.option("--check", is_flag=True, help="Only report what is missing; needs no network.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def fetch(to: Path | None, check: bool, arguments: tuple[str, ...]) -> None:
    """Fetch the models that a run names, and check its files, before its jobs need them.

    Run it on a machine with internet, where compute nodes have none. All other options are
    Snakemake's own: --configfile, --config model.path=..., ...
    """
    import_module("prime_core.launch.fetch").run(arguments, to, check)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--way",
    type=click.Choice(["allocation", "local", "slurm"]),
    help="In one allocation, on one machine, or each stage a Slurm job; default: the quickest.",
)
@click.option("--model-size", help="A size in place of the settings' model: 7b, llama-3.1-8b, ...")
@click.option(
    "--gpu", help="Type of GPU, e.g. a100_40 or h100_pcie; default: the site's, else an A100."
)
@click.option("--gpu-memory-gb", type=click.FloatRange(min=1), help="GiB of a GPU's memory.")
@click.option("--gpus", type=click.IntRange(min=1), help="GPUs that the run may use at a time.")
@click.option(
    "--disk-gb-per-s",
    type=click.FloatRange(min=0.001),
    help="The shared disk's bandwidth for one job; default: as measured, else 2.",
)
@click.option("--disk-tb", type=click.FloatRange(min=0), help="Your space on it.")
@click.option("--assume", multiple=True, metavar="NAME=VALUE", help="Override an assumption.")
@click.option(
    "--measured",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Assumptions that `python -m benchmarks.gpu_trial` has measured on these GPUs.",
)
@click.option("--json", is_flag=True, help="Print JSON, for programs.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def plan(context: click.Context, json: bool, arguments: tuple[str, ...], **options: Any) -> None:
    """Estimate what a run will need: memory, disk, hours; exit status 1 where it cannot work.

    Needs no GPU and loads no model. All other options are Snakemake's own: --configfile,
    --config training.zero_stage=3, ...
    """
    module = import_module("prime_core.planning.command")
    context.exit(module.run(module.Options(**options), arguments, json))


@click.command()
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder that will hold the runs.",
)
@click.option("--gpu", is_flag=True, help="Also try a job's work on all GPUs of this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def doctor(context: click.Context, results: Path, gpu: bool, as_json: bool) -> None:
    """Look whether this machine has what runs need; exit status 1 where something is wrong.

    One line each: ok, missing or wrong, and what to do. With --gpu, to be run in a job on a GPU
    node, it also loads a small model, generates, reduces over all GPUs and takes a training step.
    Changes nothing.
    """
    context.exit(import_module("prime_core.doctor.doctor").run(results, gpu, as_json))


@click.command()
@click.argument("run_at", metavar="RUN@ITERATION")
@click.option(
    "--to",
    required=True,
    metavar="FOLDER|hf:OWNER/NAME",
    help="A new folder, or a new repository on the Hugging Face hub (needs `hf auth login`).",
)
@click.option(
    "--model",
    "kind",
    type=click.Choice(["policy", "prm", "value"]),
    default="policy",
    show_default=True,
    help="Which of the run's models; prm: the process reward model, value: PPO's.",
)
@click.option("--adapter", is_flag=True, help="The low-rank adapter alone, not merged (peft).")
@click.option("--license", "licence", help="Licence of the weights for the card, e.g. apache-2.0.")
@click.option("--public", is_flag=True, help="Make the hub's repository public; default: private.")
def export(
    run_at: str, to: str, kind: str, adapter: bool, licence: str | None, public: bool
) -> None:
    """Write a model of a run for others: weights, tokenizer, generation settings, model card.

    RUN@ITERATION is results/quickstart@12; without @ITERATION the last whose weights are kept.
    transformers and vLLM load the folder. The card has the run's accuracies with intervals,
    settings, data and versions, as far as the run knows them. A run may still be running.
    """
    _listen()
    module = import_module("prime_core.export.export")
    module.run(run_at, to, kind, adapter, licence, public)


def _listen() -> None:
    """Exit in order on SIGTERM: what was half written is removed on the way out."""
    import_module("prime_core.runtime.interruption").listen()


COMMANDS = (doctor, export, site, launch, status, runs, cancel, logs, fetch, plan, gpus)
