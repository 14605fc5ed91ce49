"""The start of a run: model, data, supervised warm-up.

REQUIRED INPUTS: settings (model, data, sft, prm.path).
OUTPUTS: models/{base,policy-0000,reference,prm-0000}, data/*.parquet; with prm.reference_path
models/prm-reference. With prm.offline models/prm-0000 comes from offline.smk, with data.difficulty
data/train.parquet from difficulty.smk.
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
        "prime build --run {RESULTS:q}/{wildcards.run} 2> {log:q}"


rule prepare:
    """Problems to train on, held-out problems, demonstrations, and what was left out."""
    input:
        tokenizer=rules.build.output.model,
    output:
        train=f"{ROOT}/data/{'candidates' if SETTINGS.data.difficulty else 'train'}.parquet",
        dropped=f"{ROOT}/data/dropped.parquet",
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
        "prime prepare --run {RESULTS:q}/{wildcards.run} 2> {log:q}"


rule sft:
    """Supervised warm-up; policy, references and PRM as reinforcement learning finds them."""
    input:
        model=rules.build.output.model,
        demonstrations=rules.prepare.output.demonstrations,
    output:
        policy=directory(f"{ROOT}/models/policy-0000"),
        reference=directory(f"{ROOT}/models/reference"),
        prms=directory(TARGETS.linked_prms(ROOT)),
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
        "{params.ranks}prime sft --run {RESULTS:q}/{wildcards.run} 2> {log:q}"
