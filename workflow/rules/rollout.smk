"""From a policy to a batch: sampling, verification, selection.

Which policy samples is an edge of the graph: `sampled_policy`. With rollout.max_staleness it is an
older one, so that sampling need not wait for the training of the iteration before
(docs/decisions.md#staleness). Refill rounds are shards, too (docs/decisions.md#refill-shards).

REQUIRED INPUTS: data/train.parquet, the policy of the iteration before, or an older one.
OUTPUTS: iterations/<i>/{rollouts,outcomes}/<shard>.parquet, batch.parquet, surplus.parquet.
"""

SURPLUS = (
    {"surplus": f"{ITERATION}/surplus.parquet"}
    if SETTINGS.rollout.keeps_surplus
    else {}
)


rule sample:
    """Responses to one shard of an iteration's prompts."""
    input:
        prompts=str(FILES.train),
        policy=sampled_policy,
        carried=TARGETS.carried_groups,
        earlier=TARGETS.earlier_rounds,
    output:
        rollouts=ROLLOUTS,
        metrics=f"{ITERATION}/metrics/sample-{{shard}}.json",
    log:
        f"{ROOT}/logs/iterations/{{iteration}}/sample-{{shard}}.log",
    benchmark:
        f"{ROOT}/benchmarks/iterations/{{iteration}}/sample-{{shard}}.tsv"
    resources:
        **RESOURCES["sample"],
    params:
        ranks=start_ranks,
    shell:
        "{params.ranks}prime sample --run {RESULTS:q}/{wildcards.run} --iteration {wildcards.iteration} "
        "--shard {wildcards.shard} 2> {log:q}"


rule verify:
    """Outcomes of one shard; needs no GPU, but for a judge that the stage samples from."""
    input:
        prompts=str(FILES.train),
        rollouts=ROLLOUTS,
    output:
        outcomes=f"{ITERATION}/outcomes/{{shard}}.parquet",
        metrics=f"{ITERATION}/metrics/verify-{{shard}}.json",
    log:
        f"{ROOT}/logs/iterations/{{iteration}}/verify-{{shard}}.log",
    benchmark:
        f"{ROOT}/benchmarks/iterations/{{iteration}}/verify-{{shard}}.tsv"
    resources:
        **RESOURCES["verify"],
    params:
        ranks=start_ranks,
    shell:
        "{params.ranks}prime verify --run {RESULTS:q}/{wildcards.run} --iteration {wildcards.iteration} "
        "--shard {wildcards.shard} 2> {log:q}"


rule select:
    """The groups that are trained on."""
    input:
        unpack(judged_responses),
    output:
        **SURPLUS,
        batch=BATCH,
        metrics=f"{ITERATION}/metrics/select.json",
    log:
        f"{ROOT}/logs/iterations/{{iteration}}/select.log",
    benchmark:
        f"{ROOT}/benchmarks/iterations/{{iteration}}/select.tsv"
    resources:
        **RESOURCES["select"],
    shell:
        "prime select --run {RESULTS:q}/{wildcards.run} --iteration {wildcards.iteration} 2> {log:q}"
