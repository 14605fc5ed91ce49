"""From a batch to new weights: implicit rewards, PRM update, policy update; PPO's value model.

The order of scoring and PRM update (prm.prm_update) is an edge of the graph: `scoring_prm`
(docs/decisions.md#scoring-stage). Weights that are not kept are temporary: Snakemake deletes them
when no job needs them any more. `kept_` rules are the others, since temp() cannot depend on a
wildcard.

REQUIRED INPUTS: iterations/<i>/batch.parquet, policy, PRM and value model of the iteration before,
reference; where adapters are trained, also the first policy or PRM, whose weights they extend;
with an adaptive KL metrics/policy.json of the iteration before; with Monte-Carlo values
step_values.parquet.
OUTPUTS: iterations/<i>/rewards.parquet, prm/, policy/; values.parquet, value/ with a value model;
where training states are in memory, these models' training_state/ (docs/decisions.md#states-in-memory).
"""


rule score:
    """Implicit reward of every token of the batch."""
    input:
        batch=BATCH,
        prm=scoring_prm,
        reference=reference,
    output:
        rewards=f"{ITERATION}/rewards.parquet",
        metrics=f"{ITERATION}/metrics/score.json",
    log:
        f"{ROOT}/logs/iterations/{{iteration}}/score.log",
    benchmark:
        f"{ROOT}/benchmarks/iterations/{{iteration}}/score.tsv"
    resources:
        **RESOURCES["score"],
    params:
        ranks=start_ranks,
    shell:
        "{params.ranks}prime score --run {RESULTS:q}/{wildcards.run} --iteration {wildcards.iteration} 2> {log:q}"


rule prm:
    """The process reward model after one more batch."""
    input:
        batch=BATCH,
        prm=previous_prm,
        state=TARGETS.prm_state,
        frozen=TARGETS.frozen_prm,
        reference=rewards_before_update,
    output:
        prm=temp(directory(f"{ITERATION}/prm")),
        metrics=f"{ITERATION}/metrics/prm.json",
    log:
        f"{ROOT}/logs/iterations/{{iteration}}/prm.log",
    benchmark:
        f"{ROOT}/benchmarks/iterations/{{iteration}}/prm.tsv"
    wildcard_constraints:
        iteration=f"(?!{KEPT})\\d+",
    resources:
        **RESOURCES["prm"],
    params:
        ranks=start_ranks,
    shell:
        "{params.ranks}prime prm --run {RESULTS:q}/{wildcards.run} --iteration {wildcards.iteration} 2> {log:q}"


use rule prm as kept_prm with:
    output:
        prm=directory(f"{ITERATION}/prm"),
        metrics=f"{ITERATION}/metrics/prm.json",
    wildcard_constraints:
        iteration=KEPT,


rule values:
    """Value of every state of the batch, under PPO's value model as it was."""
    input:
        batch=BATCH,
        value=TARGETS.previous_value,
    output:
        values=f"{ITERATION}/values.parquet",
        metrics=f"{ITERATION}/metrics/values.json",
    log:
        f"{ROOT}/logs/iterations/{{iteration}}/values.log",
    benchmark:
        f"{ROOT}/benchmarks/iterations/{{iteration}}/values.tsv"
    resources:
        **RESOURCES["values"],
    params:
        ranks=start_ranks,
    shell:
        "{params.ranks}prime values --run {RESULTS:q}/{wildcards.run} --iteration {wildcards.iteration} 2> {log:q}"


rule value:
    """PPO's value model after one more batch."""
    input:
        batch=BATCH,
        rewards=rewards_for_policy,
        values=TARGETS.values,
        value=TARGETS.previous_value,
        state=TARGETS.value_state,
    output:
        value=temp(directory(f"{ITERATION}/value")),
        metrics=f"{ITERATION}/metrics/value.json",
    log:
        f"{ROOT}/logs/iterations/{{iteration}}/value.log",
    benchmark:
        f"{ROOT}/benchmarks/iterations/{{iteration}}/value.tsv"
    wildcard_constraints:
        iteration=f"(?!{KEPT})\\d+",
    resources:
        **RESOURCES["value"],
    params:
        ranks=start_ranks,
    shell:
        "{params.ranks}prime value --run {RESULTS:q}/{wildcards.run} --iteration {wildcards.iteration} 2> {log:q}"


use rule value as kept_value with:
    output:
        value=directory(f"{ITERATION}/value"),
        metrics=f"{ITERATION}/metrics/value.json",
    wildcard_constraints:
        iteration=KEPT,


rule policy:
    """The policy after one more batch."""
    input:
        batch=BATCH,
        rewards=rewards_for_policy,
        values=TARGETS.values,
        step_values=TARGETS.step_values,
        policy=previous_policy,
        state=TARGETS.policy_state,
        frozen=TARGETS.frozen_policy,
        kl=TARGETS.previous_kl,
    output:
        policy=temp(directory(f"{ITERATION}/policy")),
        metrics=f"{ITERATION}/metrics/policy.json",
    log:
        f"{ROOT}/logs/iterations/{{iteration}}/policy.log",
    benchmark:
        f"{ROOT}/benchmarks/iterations/{{iteration}}/policy.tsv"
    wildcard_constraints:
        iteration=f"(?!{KEPT})\\d+",
    resources:
        **RESOURCES["policy"],
    params:
        ranks=start_ranks,
    shell:
        "{params.ranks}prime policy --run {RESULTS:q}/{wildcards.run} --iteration {wildcards.iteration} 2> {log:q}"


use rule policy as kept_policy with:
    output:
        policy=directory(f"{ITERATION}/policy"),
        metrics=f"{ITERATION}/metrics/policy.json",
    wildcard_constraints:
        iteration=KEPT,


if STATES_IN_MEMORY:

    rule save_state:
        """A training state that an update left in memory, on disk; beside the next sampling."""
        input:
            weights=f"{ITERATION}/{{model}}",
            before=TARGETS.kept_until_saved,
        output:
            metrics=f"{ITERATION}/metrics/save_state-{{model}}.json",
        log:
            f"{ROOT}/logs/iterations/{{iteration}}/save_state-{{model}}.log",
        benchmark:
            f"{ROOT}/benchmarks/iterations/{{iteration}}/save_state-{{model}}.tsv"
        wildcard_constraints:
            model="policy|prm|value",
        # The next update waits for it, and until then nothing else has the state.
        priority: 1
        resources:
            **RESOURCES["save_state"],
        shell:
            "prime save-state --run {RESULTS:q}/{wildcards.run} --iteration {wildcards.iteration} "
            "--model {wildcards.model} 2> {log:q}"
