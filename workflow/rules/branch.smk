"""The start of a run that branches off from an iteration of another (init_from).

REQUIRED INPUTS: the origin's folder, which is not an input of the graph: it may continue, or be
deleted (docs/decisions.md#branch-start).
OUTPUTS: models/, data/, of a later iteration than 0 its iterations/<i>/{policy,prm,value}.
"""

if SETTINGS.init_from:

    ruleorder: branch > build
    ruleorder: branch > prepare
    ruleorder: branch > sft
    ruleorder: branch > kept_policy
    ruleorder: branch > policy
    ruleorder: branch > kept_prm
    ruleorder: branch > prm
    ruleorder: branch > kept_value
    ruleorder: branch > value
    ruleorder: branch > select

    rule branch:
        """What this run takes over from an iteration of another."""
        output:
            directory(TARGETS.branch_folders(ROOT)),
            TARGETS.branch_tables(ROOT),
            metrics=f"{ROOT}/metrics/branch.json",
        log:
            f"{ROOT}/logs/branch.log",
        benchmark:
            f"{ROOT}/benchmarks/branch.tsv"
        resources:
            **RESOURCES["branch"],
        shell:
            "prime branch --run {RESULTS:q}/{wildcards.run} 2> {log:q}"
