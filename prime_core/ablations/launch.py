"""`prime launch ablations`: all runs of the ablations, driven by one small Slurm job.

In: Snakemake's arguments. Out: a submitted job that requeues itself before its time limit. In it
`snakemake ablations` starts the runs' own controllers, a few at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prime_core.ablations.plan import Ablations, Plan, parse_ablations
from prime_core.ablations.workflow import CONTROLLERS_AT_ONCE
from prime_core.launch.arguments import (
    from_anywhere,
    named_configfiles,
    named_folder,
    refuse_unknown_options,
    split_overrides,
    workflow_folder,
)
from prime_core.launch.controller import Controller
from prime_core.launch.launch import Options, controller_job, submit_first
from prime_core.launch.site.site import load_site, site_file
from prime_core.launch.snakemake_command import translated
from prime_core.run.layout import RunFiles
from prime_core.runtime.errors import refuse_unusable
from prime_core.settings.reading import (
    SettingsError,
    expand_dotted,
    load_yaml,
    merged,
    parse_overrides,
)
from prime_core.storage.caches import use_caches

# Snakemake of a run and what started it; measured 0.25 GB.
GB_OF_A_RUN, GB_OF_ALL = 0.5, 1.0


def run(options: Options, arguments: Sequence[str]) -> None:
    """Submit the workflow of all runs, or with dry_run print what would be submitted.

    Raises SettingsError for wrong settings, RunBusy when these ablations already have a controller,
    SlurmError when Slurm refuses.
    """
    refuse_unknown_options(arguments)
    if options.profile == "allocation":
        raise SettingsError(
            "ablations: an allocation holds a single run; use --profile slurm, or start one of "
            "the runs (docs/ablations.md)"
        )
    passed = translated(arguments)
    plan = Plan(asked_ablations(passed), workflow_folder())
    site = load_site(site_file(workflow_folder()))
    use_caches(site.caches)
    files = RunFiles(named_folder(passed) / plan.root)
    refuse_unusable(Path(), files.root)
    at_once = plan.ablations.at_once or CONTROLLERS_AT_ONCE
    # Its own: the job has one processor, which bears as many controllers.
    words = ["--profile", options.profile, *passed, "--local-cores", str(at_once)]
    command = [sys.executable, "-m", "snakemake", *from_anywhere(words)]
    mem_gb = GB_OF_ALL + GB_OF_A_RUN * at_once
    call = Controller(command, Path.cwd(), files.root, files.controller_folder.absolute())
    choices = [
        (controller_job(options, pool, files, mem_gb), call) for pool in site.pools("controller")
    ]
    submit_first(choices, files, command, options.dry_run)


def asked_ablations(arguments: Sequence[str]) -> Ablations:
    """Settings of the ablations that Snakemake would start. Raises SettingsError naming the key."""
    others, overrides = split_overrides(arguments)
    default = workflow_folder() / "configs" / "ablations" / "ablations.yaml"
    raw: dict[str, Any] = {}
    for path in named_configfiles(others) or [default]:
        raw = merged(raw, expand_dotted(load_yaml(path)))
    raw = merged(raw, expand_dotted(parse_overrides(overrides, "--config")))
    return parse_ablations(raw, "ablations")
