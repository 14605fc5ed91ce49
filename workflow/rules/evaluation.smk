"""Evaluations of the policy, and the report.

REQUIRED INPUTS: a policy, data/validation.parquet or a benchmark's own file; for a benchmark with
scorer 'prm' the PRM of the same iteration and its reference; all figures.
OUTPUTS: evaluations/<i>/<benchmark>.{json,parquet}, of a benchmark with num_shards also
<benchmark>/<shard>-of-<number>.json; report/, ro-crate.zip.
"""


rule evaluate:
    """One benchmark of the policy after an iteration."""
    input:
        policy=policy_of,
        problems=str(FILES.validation),
        scorers=TARGETS.scorers,
    output:
        figures=f"{ROOT}/evaluations/{{iteration}}/{{benchmark}}.json",
        responses=f"{ROOT}/evaluations/{{iteration}}/{{benchmark}}.parquet",
    log:
        f"{ROOT}/logs/evaluations/{{iteration}}/{{benchmark}}.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluations/{{iteration}}/{{benchmark}}.tsv"
    wildcard_constraints:
        benchmark=TARGETS.benchmarks(sharded=False),
    # The next iteration waits for none, and must not find them on its cores and GPUs.
    priority: -1
    resources:
        **RESOURCES["evaluate"],
    params:
        ranks=start_ranks,
    shell:
        "{params.ranks}prime evaluate --run {RESULTS:q}/{wildcards.run} --iteration {wildcards.iteration} "
        "--benchmark {wildcards.benchmark} 2> {log:q}"


if TARGETS.has_sharded_evaluations:

    rule evaluate_shard:
        """Responses to one shard of a benchmark's problems, and their verdicts."""
        input:
            policy=policy_of,
            problems=str(FILES.validation),
        output:
            figures=f"{ROOT}/evaluations/{{iteration}}/{{benchmark}}/{{shard}}-of-{{of}}.json",
            responses=temp(
                f"{ROOT}/evaluations/{{iteration}}/{{benchmark}}/{{shard}}-of-{{of}}.parquet"
            ),
        log:
            f"{ROOT}/logs/evaluations/{{iteration}}/{{benchmark}}/{{shard}}-of-{{of}}.log",
        benchmark:
            f"{ROOT}/benchmarks/evaluations/{{iteration}}/{{benchmark}}/{{shard}}-of-{{of}}.tsv"
        wildcard_constraints:
            benchmark=TARGETS.benchmarks(sharded=True),
            of=r"\d+",
        priority: -1
        resources:
            **RESOURCES["evaluate"],
        params:
            ranks=start_ranks,
        shell:
            "{params.ranks}prime evaluate --run {RESULTS:q}/{wildcards.run} --iteration {wildcards.iteration} "
            "--benchmark {wildcards.benchmark} --shard {wildcards.shard} --of {wildcards.of} 2> {log:q}"

    use rule evaluate as evaluate_joined with:
        input:
            shards=TARGETS.evaluation_shards,
            problems=str(FILES.validation),
        wildcard_constraints:
            benchmark=TARGETS.benchmarks(sharded=True, scored=False),
        # Tables alone: no GPU, and no waiting for one.
        resources:
            **RESOURCES["select"],

    use rule evaluate as evaluate_scored with:
        input:
            shards=TARGETS.evaluation_shards,
            problems=str(FILES.validation),
            scorers=TARGETS.scorers,
        wildcard_constraints:
            benchmark=TARGETS.benchmarks(sharded=True, scored=True),


rule report:
    """The run as a page, tables and TensorBoard events, and all of it as an RO-Crate."""
    input:
        [figures for i in SETTINGS.own_iterations for figures in TARGETS.learned(i)],
        TARGETS.evaluations,
    output:
        page=report(
            f"{ROOT}/report/report.html",
            category="Run",
            caption="../report/report.rst",
        ),
        metrics=report(
            f"{ROOT}/report/metrics.csv",
            category="Run",
            caption="../report/metrics.rst",
        ),
        evaluations=report(
            f"{ROOT}/report/evaluations.csv",
            category="Run",
            caption="../report/evaluations.rst",
        ),
        stages=report(
            f"{ROOT}/report/stages.csv", category="Run", caption="../report/stages.rst"
        ),
        cost=report(
            f"{ROOT}/report/cost.csv", category="Run", caption="../report/cost.rst"
        ),
        reproduction=report(
            f"{ROOT}/report/reproduction.csv",
            category="Run",
            caption="../report/reproduction.rst",
        ),
        differing_settings=report(
            f"{ROOT}/report/differing_settings.csv",
            category="Run",
            caption="../report/differing_settings.rst",
        ),
        plots=report(
            directory(f"{ROOT}/report/plots"),
            patterns=["{figure}.svg"],
            category="Run",
            subcategory="Figures",
            labels={"figure": "{figure}"},
            caption="../report/figures.rst",
        ),
        tensorboard=directory(f"{ROOT}/report/tensorboard"),
        crate=f"{ROOT}/ro-crate.zip",
    log:
        f"{ROOT}/logs/report.log",
    benchmark:
        f"{ROOT}/benchmarks/report.tsv"
    resources:
        **RESOURCES["report"],
    shell:
        "prime report --run {RESULTS:q}/{wildcards.run} 2> {log:q}"
