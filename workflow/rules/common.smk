"""Settings, paths and the functions that the rules' inputs use.

REQUIRED INPUTS: `config`, as Snakemake merged it from files and the command line.
OUTPUTS: SETTINGS, FILES, TARGETS, paths with wildcards, and the functions below.
"""

import os
from functools import partial
from pathlib import Path

from snakemake.utils import validate

from prime_core.launch import workflow_output
from prime_core.launch.accounting.budget import budget_refusal
from prime_core.launch.fetch import FetchError, refuse_missing_files
from prime_core.launch.site.site import load_site, site_file
from prime_core.launch.site.stage_resources import (
    load_stages,
    needs_of_run,
    stage_resources,
)
from prime_core.launch.slurm.executor import adapt
from prime_core.launch.slurm.orphans import StoppedWaiting, restart, wait_for_orphans
from prime_core.launch.slurm.ranks import launcher
from prime_core.launch.state_storage import keep_states
from prime_core.launch.watching.watch import RunWatch
from prime_core.resident.starting import serve_stages
from prime_core.run.layout import RunFiles
from prime_core.run.prm_folders import reward_reference_folder, scoring_prm_folder
from prime_core.run.state import RunBusy, RunState, find_own_commands
from prime_core.run.targets import Targets
from prime_core.settings.reading import check_files, parse_settings
from prime_core.storage.caches import use_caches

find_own_commands()
SETTINGS_ARE_FROM = ", ".join(map(str, workflow.configfiles))
if workflow.config_settings.config:
    SETTINGS_ARE_FROM += " and --config"
with workflow_output.one_sentence(FetchError):
    check_files(workflow.configfiles)
    SETTINGS = parse_settings(config, SETTINGS_ARE_FROM)
    FILES = RunFiles(SETTINGS.run_dir)
    workflow_output.refuse_unusable_folder(SETTINGS.run_dir)
    RUN_STATE = RunState(SETTINGS)
    SITE = load_site(site_file(Path(workflow.basedir)))
    use_caches(SITE.caches)
    refuse_missing_files(SETTINGS, FILES, workflow.output_settings.dryrun)
    NEEDS = needs_of_run(
        load_stages(Path(workflow.basedir) / SETTINGS.stage_resources), SETTINGS
    )
    RESOURCES = {
        name: stage_resources(name, needs, SITE) for name, needs in NEEDS.items()
    }
    workflow_output.apply_to_rules(workflow)
    STATES_IN_MEMORY = keep_states(SETTINGS, NEEDS, SITE)
workflow_output.show_stages_only(workflow, SITE, SETTINGS)
shell.prefix(workflow_output.stage_shell(workflow, SETTINGS.rollout))

validate(
    SETTINGS.model_dump(mode="json"),
    "../schemas/settings.schema.json",
    set_default=False,
)

TARGETS = Targets(SETTINGS, FILES, RUN_STATE, STATES_IN_MEMORY)
WATCH = RunWatch(SETTINGS, FILES)
RESULTS = SETTINGS.results
ROOT = f"{RESULTS}/{{run}}"
ITERATION = f"{ROOT}/iterations/{{iteration}}"
ROLLOUTS = f"{ITERATION}/rollouts/{{shard}}.parquet"
BATCH = f"{ITERATION}/batch.parquet"
KEPT = RUN_STATE.kept_pattern()
adapt(FILES, SITE, partial(budget_refusal, SETTINGS, FILES))


wildcard_constraints:
    run=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    iteration=r"\d+",
    shard=r"\d+",
    benchmark=r"[A-Za-z0-9][A-Za-z0-9._-]*",


def start_ranks(wildcards, resources):
    """Prefix of a stage's command: claims its GPUs, launches its ranks; often empty."""
    return launcher(dict(resources.items()), os.environ)


def policy_of(wildcards):
    """The policy after an iteration; iteration 0 is the start model."""
    return str(FILES.policy(int(wildcards.iteration)))


def previous_policy(wildcards):
    """The policy that an iteration trains."""
    return str(FILES.policy(int(wildcards.iteration) - 1))


def sampled_policy(wildcards):
    """The policy that an iteration samples from; with an older one it need not wait for training."""
    return TARGETS.sampled_policy(int(wildcards.iteration))


def previous_prm(wildcards):
    """The PRM as it was before an iteration's update."""
    return str(FILES.prm(int(wildcards.iteration) - 1))


def judged_responses(wildcards):
    """Rollouts and outcomes of all shards of an iteration, and groups left over before."""
    return TARGETS.judged(int(wildcards.iteration))


def scoring_prm(wildcards):
    """The PRM that scores: before or after this iteration's update, or the first (frozen)."""
    return str(scoring_prm_folder(SETTINGS, FILES, int(wildcards.iteration)))


def reference(wildcards):
    """The model that implicit rewards are relative to."""
    return str(reward_reference_folder(SETTINGS, FILES, int(wildcards.iteration)))


def rewards_before_update(wildcards):
    """What the PRM update waits for: rewards already hold the reference's log-probabilities."""
    if SETTINGS.prm.prm_update == "after":
        return TARGETS.rewards(int(wildcards.iteration))
    return reference(wildcards)


def rewards_for_policy(wildcards):
    """Implicit rewards of the batch; nothing where only outcomes count."""
    return TARGETS.rewards(int(wildcards.iteration))


def begin_run():
    """Lock the run, wait for jobs that an earlier launch left running, write the settings."""
    with workflow_output.one_sentence(RunBusy, StoppedWaiting):
        RUN_STATE.hold()
        if wait_for_orphans(FILES) or RUN_STATE.remove_lost():
            RUN_STATE.give_back()
            restart()  # what there is now is not in this graph
        RUN_STATE.begin()
    serve_stages(SETTINGS.resident, workflow.local_exec, FILES.resident_log)
    WATCH.start()


def end_run():
    """Clean up what killed jobs left, and say what the run has reached."""
    RUN_STATE.end()
    WATCH.end()
