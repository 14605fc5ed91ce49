"""From a batch to Monte-Carlo values of its steps: continuations, and their mean outcomes.

Only with value.source or prm.source monte_carlo: nothing else asks for these files
(docs/decisions.md#monte-carlo-values).

REQUIRED INPUTS: iterations/<i>/batch.parquet, the policy that the iteration samples from,
data/train.parquet.
OUTPUTS: iterations/<i>/continuations/<shard>.parquet, step_values.parquet.
"""


rule continuations:
    """Responses continued from one shard of the states between the batch's steps."""
    input:
        batch=BATCH,
        policy=sampled_policy,
    output:
        continuations=f"{ITERATION}/continuations/{{shard}}.parquet",
        metrics=f"{ITERATION}/metrics/continuations-{{shard}}.json",
    log:
        f"{ROOT}/logs/iterations/{{iteration}}/continuations-{{shard}}.log",
    benchmark:
        f"{ROOT}/benchmarks/iterations/{{iteration}}/continuations-{{shard}}.tsv"
    resources:
        **RESOURCES["continuations"],
    params:
        ranks=start_ranks,
    shell:
        "{params.ranks}prime continuations --run {RESULTS:q}/{wildcards.run} "
        "--iteration {wildcards.iteration} --shard {wildcards.shard} 2> {log:q}"


rule step_values:
    """Mean outcomes of the continuations; needs no GPU."""
    input:
        prompts=str(FILES.train),
        batch=BATCH,
        continuations=TARGETS.continuations,
    output:
        values=f"{ITERATION}/step_values.parquet",
        metrics=f"{ITERATION}/metrics/step_values.json",
    log:
        f"{ROOT}/logs/iterations/{{iteration}}/step_values.log",
    benchmark:
        f"{ROOT}/benchmarks/iterations/{{iteration}}/step_values.tsv"
    resources:
        **RESOURCES["step_values"],
    shell:
        "prime step-values --run {RESULTS:q}/{wildcards.run} --iteration {wildcards.iteration} 2> {log:q}"
