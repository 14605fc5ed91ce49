"""Settings, paths and the functions that the rules' inputs use.

REQUIRED INPUTS: `config`, as Snakemake merged it from files and the command line.
OUTPUTS: SETTINGS, FILES, ITERATIONS, and the functions below.
"""

import sys

from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

from prime_core.config import SettingsError, parse_settings
from prime_core.layout import RunFiles
from prime_core import run_state

run_state.find_own_commands()
try:
    SETTINGS = parse_settings(config, "settings")
    RUN_STATE = run_state.RunState(SETTINGS)
except SettingsError as error:
    raise WorkflowError(str(error)) from None

validate(
    SETTINGS.model_dump(mode="json"),
    "../schemas/settings.schema.json",
    set_default=False,
)

FILES = RunFiles(SETTINGS.run_dir)
RESULTS = SETTINGS.results
ROOT = f"{RESULTS}/{{run}}"
ITERATION = f"{ROOT}/iterations/{{iteration}}"
ROLLOUTS = f"{ITERATION}/rollouts/{{shard}}.parquet"
BATCH = f"{ITERATION}/batch.parquet"
ITERATIONS = range(1, SETTINGS.iterations + 1)
REWARDED = SETTINGS.prm.prm_update != "none"
UPDATED = SETTINGS.prm.prm_update in ("after", "before")
KEPT = RUN_STATE.kept_pattern()


wildcard_constraints:
    run=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    iteration=r"\d+",
    shard=r"\d+",
    benchmark=r"[A-Za-z0-9][A-Za-z0-9._-]*",


def shards(iteration):
    """Numbers of all shards of an iteration, refill rounds included."""
    in_a_round = FILES.num_shards(iteration, SETTINGS.rollout.num_shards)
    return range(in_a_round * (1 + SETTINGS.rollout.refill_rounds))


def previous_policy(wildcards):
    """The policy that an iteration samples from and trains."""
    return str(FILES.policy(int(wildcards.iteration) - 1))


def previous_prm(wildcards):
    """The PRM as it was before an iteration's update."""
    return str(FILES.prm(int(wildcards.iteration) - 1))


def earlier_rounds(wildcards):
    """What a refill round looks at: the rollouts and outcomes of the rounds before it."""
    iteration, shard = int(wildcards.iteration), int(wildcards.shard)
    in_a_round = FILES.num_shards(iteration, SETTINGS.rollout.num_shards)
    earlier = range(shard // in_a_round * in_a_round)
    return [
        str(table(iteration, number))
        for number in earlier
        for table in (FILES.rollouts, FILES.outcomes)
    ]


def all_rollouts(wildcards):
    """Rollouts of all shards of an iteration."""
    iteration = int(wildcards.iteration)
    return [str(FILES.rollouts(iteration, shard)) for shard in shards(iteration)]


def all_outcomes(wildcards):
    """Outcomes of all shards of an iteration."""
    iteration = int(wildcards.iteration)
    return [str(FILES.outcomes(iteration, shard)) for shard in shards(iteration)]


def scoring_prm(wildcards):
    """The PRM that scores: before or after this iteration's update, or the first (frozen)."""
    iteration = int(wildcards.iteration)
    which = {"after": iteration - 1, "before": iteration, "frozen": 0}
    return str(FILES.prm(which[SETTINGS.prm.prm_update]))


def reference(wildcards):
    """The model that implicit rewards are relative to."""
    if SETTINGS.prm.prm_reference == "policy":
        return previous_policy(wildcards)
    return str(FILES.reference)


def rewards_before_update(wildcards):
    """Rewards that the PRM update waits for: their reference log-probabilities are used again."""
    if SETTINGS.prm.prm_update == "after":
        return str(FILES.rewards(int(wildcards.iteration)))
    return reference(wildcards)


def rewards_for_policy(wildcards):
    """Implicit rewards of the batch; nothing where only outcomes count."""
    return str(FILES.rewards(int(wildcards.iteration))) if REWARDED else []


def policy_of(wildcards):
    """The policy after an iteration; iteration 0 is the start."""
    return str(FILES.policy(int(wildcards.iteration)))


def setup_targets():
    """What is made once."""
    return [str(FILES.train), str(FILES.policy(0)), str(FILES.prm(0))]


def iteration_targets(iteration):
    """Tables of an iteration, and the weights where it is kept. Ascending: Snakemake recurses."""
    targets = [str(FILES.rollouts(iteration, shard)) for shard in shards(iteration)]
    targets += [str(FILES.outcomes(iteration, shard)) for shard in shards(iteration)]
    targets += [str(FILES.batch(iteration)), str(FILES.metrics(iteration, "policy"))]
    targets += [str(FILES.rewards(iteration))] if REWARDED else []
    targets += [str(FILES.metrics(iteration, "prm"))] if UPDATED else []
    if RUN_STATE.is_last(iteration):
        targets += [str(FILES.policy(iteration))]
        targets += [str(FILES.prm(iteration))] if UPDATED else []
    return targets


def evaluation_targets():
    """Figures of all evaluations whose policy exists or is still to come."""
    return [str(FILES.evaluation(*pair)) for pair in RUN_STATE.evaluations()]


def begin_run():
    """Hold the run, refuse settings that would change finished work, write the rest down."""
    try:
        RUN_STATE.begin()
    except (SettingsError, run_state.RunBusy) as error:
        raise WorkflowError(str(error)) from None


def end_run():
    """Sweep up what killed jobs left, and say where to look."""
    RUN_STATE.end()
    print(f"finished: {FILES.report}", file=sys.stderr)
