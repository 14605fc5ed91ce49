"""The start of a run: model, data, supervised warm-up.

REQUIRED INPUTS: settings (model, data, sft, prm.path).
OUTPUTS: models/{base,policy-0000,reference,prm-0000}, data/*.parquet.
"""


rule build:
    """The model that the run starts from, checked."""
    output:
        model=directory(f"{ROOT}/models/base"),
        metrics=f"{ROOT}/metrics/build.json",
    log:
        f"{ROOT}/logs/build.log",
    benchmark:
        f"{ROOT}/benchmarks/build.tsv"
    resources:
        **RESOURCES["build"],
    shell:
        "prime build --run {RESULTS}/{wildcards.run} 2> {log}"


rule prepare:
    """Problems to train on, held-out problems, demonstrations."""
    input:
        tokenizer=rules.build.output.model,
    output:
        train=f"{ROOT}/data/train.parquet",
        validation=f"{ROOT}/data/validation.parquet",
        demonstrations=f"{ROOT}/data/demonstrations.parquet",
        metrics=f"{ROOT}/metrics/prepare.json",
    log:
        f"{ROOT}/logs/prepare.log",
    benchmark:
        f"{ROOT}/benchmarks/prepare.tsv"
    resources:
        **RESOURCES["prepare"],
    shell:
        "prime prepare --run {RESULTS}/{wildcards.run} 2> {log}"


rule sft:
    """Supervised warm-up; policy, reference and PRM as reinforcement learning finds them."""
    input:
        model=rules.build.output.model,
        demonstrations=rules.prepare.output.demonstrations,
    output:
        policy=directory(f"{ROOT}/models/policy-0000"),
        reference=directory(f"{ROOT}/models/reference"),
        prm=directory(f"{ROOT}/models/prm-0000"),
        metrics=f"{ROOT}/metrics/sft.json",
    log:
        f"{ROOT}/logs/sft.log",
    benchmark:
        f"{ROOT}/benchmarks/sft.tsv"
    resources:
        **RESOURCES["sft"],
    params:
        ranks=start_ranks,
    shell:
        "{params.ranks}prime sft --run {RESULTS}/{wildcards.run} 2> {log}"
