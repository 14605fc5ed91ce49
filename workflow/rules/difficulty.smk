"""Training problems of medium difficulty, found by a trial of all problems by the start model.

Only with data.difficulty; otherwise `prepare` writes the training problems, and a branch (init_from)
has those of its origin. Why two stages: docs/decisions.md#difficulty-trial.

REQUIRED INPUTS: data/candidates.parquet, models/policy-0000.
OUTPUTS: data/difficulty/<shard>.parquet, data/train.parquet, data/too_easy_or_hard.parquet.
"""

if SETTINGS.data.difficulty and not SETTINGS.init_from:

    rule difficulty:
        """How often the start model solves the problems of one shard."""
        input:
            candidates=rules.prepare.output.train,
            policy=rules.sft.output.policy,
        output:
            tried=f"{ROOT}/data/difficulty/{{shard}}.parquet",
            metrics=f"{ROOT}/metrics/difficulty-{{shard}}.json",
        log:
            f"{ROOT}/logs/difficulty-{{shard}}.log",
        benchmark:
            f"{ROOT}/benchmarks/difficulty-{{shard}}.tsv"
        resources:
            **RESOURCES["difficulty"],
        params:
            ranks=start_ranks,
        shell:
            "{params.ranks}prime difficulty --run {RESULTS:q}/{wildcards.run} --shard {wildcards.shard} "
            "2> {log:q}"

    rule band:
        """The training problems that are neither too easy nor too hard."""
        input:
            candidates=rules.prepare.output.train,
            tried=TARGETS.tried(ROOT),
        output:
            train=f"{ROOT}/data/train.parquet",
            others=f"{ROOT}/data/too_easy_or_hard.parquet",
            metrics=f"{ROOT}/metrics/band.json",
        log:
            f"{ROOT}/logs/band.log",
        benchmark:
            f"{ROOT}/benchmarks/band.tsv"
        resources:
            **RESOURCES["band"],
        shell:
            "prime band --run {RESULTS:q}/{wildcards.run} 2> {log:q}"
