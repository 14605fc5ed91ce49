"""The first PRM, trained on labelled responses before reinforcement learning begins (prm.offline).

REQUIRED INPUTS: the file of prm.offline, which is not an input of the graph; models/policy-0000,
the PRM's reference.
OUTPUTS: data/labelled.parquet, models/prm-0000.
"""

if TARGETS.trains_first_prm:

    rule prm_data:
        """Labelled responses as tokens, with log-probabilities under the PRM's reference.

        Computed once, whatever the epochs (docs/decisions.md#labelled-tokens).
        """
        input:
            policy=f"{ROOT}/models/policy-0000",
            reference=TARGETS.first_reference(ROOT),
        output:
            labelled=f"{ROOT}/data/labelled.parquet",
            metrics=f"{ROOT}/metrics/prm_data.json",
        log:
            f"{ROOT}/logs/prm_data.log",
        benchmark:
            f"{ROOT}/benchmarks/prm_data.tsv"
        resources:
            **RESOURCES["prm_data"],
        params:
            ranks=start_ranks,
        shell:
            "{params.ranks}prime prm-data --run {RESULTS:q}/{wildcards.run} 2> {log:q}"

    rule prm_offline:
        """The first PRM: the start model, or the folder of prm.path, after the labelled responses."""
        input:
            labelled=f"{ROOT}/data/labelled.parquet",
            policy=f"{ROOT}/models/policy-0000",
        output:
            prm=directory(f"{ROOT}/models/prm-0000"),
            metrics=f"{ROOT}/metrics/prm_offline.json",
        log:
            f"{ROOT}/logs/prm_offline.log",
        benchmark:
            f"{ROOT}/benchmarks/prm_offline.tsv"
        resources:
            **RESOURCES["prm_offline"],
        params:
            ranks=start_ranks,
        shell:
            "{params.ranks}prime prm-offline --run {RESULTS:q}/{wildcards.run} 2> {log:q}"
