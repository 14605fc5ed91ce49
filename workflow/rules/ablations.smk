"""The paper's comparisons in miniature: each variant with each seed is a separate run.

Each run is started by its own Snakemake, with this Snakefile and a settings file written for it, so
it has its own lock, resume and report (docs/decisions.md#many-workflows). Runs that have finished
with the same settings are not started again: the name of their marker holds a digest of them.

REQUIRED INPUTS: settings of ablations (configs/ablations/*.yaml, overridden by --config).
OUTPUTS: <results>/<variant>-seed<n>/, <results>/report/.
"""

import sys
from pathlib import Path

from prime_core.ablations.plan import Plan, parse_ablations
from prime_core.ablations.workflow import Workflow as AblationWorkflow
from prime_core.launch import workflow_output
from prime_core.run.state import find_own_commands
from prime_core.runtime.run_lock import RunBusy
from prime_core.settings.reading import check_files

find_own_commands()
workflow_output.show_stages_only(workflow)
shell.prefix(workflow_output.STAGE_SHELL)
with workflow_output.one_sentence():
    check_files(workflow.configfiles)
    PLAN = Plan(parse_ablations(config, "ablations"), Path(workflow.basedir))
    ABLATIONS = AblationWorkflow(PLAN, Path(workflow.main_snakefile), sys.argv[1:])
    workflow_output.refuse_unusable_folder(Path(PLAN.root))

ABLATIONS.preview()
RESULTS = PLAN.root
REPORT = f"{RESULTS}/report"
SHOWN = f"{REPORT}/ablations-{PLAN.digest}.yaml"


wildcard_constraints:
    run=r"[A-Za-z0-9][A-Za-z0-9._-]*-seed\d+",
    digest=r"[0-9a-f]{12}",
    first=r"\d+",
    last=r"\d+",


localrules:
    ablations,
    ablation,
    ablation_labelled,
    ablations_report,


rule ablations:
    """All runs, and what they say about the paper's findings."""
    default_target: True
    input:
        PLAN.markers,  # Snakemake would not look for what is missing behind a finished report
        f"{REPORT}/report.html",
        SHOWN,


rule ablation:
    """One run, from the beginning or from where it stopped."""
    input:
        ABLATIONS.needed,
    output:
        f"{RESULTS}/{{run}}/ablation-{{digest}}.json",
    log:
        f"{RESULTS}/logs/{{run}}.{{digest}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/{{run}}.{{digest}}.tsv"
    threads: ABLATIONS.cores
    params:
        options=ABLATIONS.options,
    shell:
        "prime ablation {RESULTS:q}/settings/{wildcards.run}.yaml --out {output:q} {params.options} 2>> {log:q}"


rule ablation_labelled:
    """Judged responses of one run, for the PRM of another to learn from.

    A finished iteration never changes, so the file stays valid when the run continues.
    """
    input:
        ancient(ABLATIONS.answering),
    output:
        f"{RESULTS}/labelled/{{run}}.{{first}}-{{last}}.parquet",
    log:
        f"{RESULTS}/logs/labelled-{{run}}.{{first}}-{{last}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/labelled-{{run}}.{{first}}-{{last}}.tsv"
    shell:
        "prime labelled --run {RESULTS:q}/{wildcards.run} --iterations {wildcards.first}-{wildcards.last} "
        "--out {output:q} 2> {log:q}"


rule ablations_report:
    """Table, figures and their reading."""
    input:
        PLAN.markers,
    output:
        page=f"{REPORT}/report.html",
        comparisons=f"{REPORT}/comparisons.csv",
        curves=f"{REPORT}/curves.csv",
        figures=multiext(f"{REPORT}/", "curves.svg", "differences.svg"),
        settings=SHOWN,
    log:
        f"{RESULTS}/logs/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
    shell:
        "prime ablations-report --results {RESULTS:q} --settings {output.settings:q} 2> {log:q}"


onstart:
    with workflow_output.one_sentence(RunBusy):
        ABLATIONS.begin()


onsuccess:
    ABLATIONS.end(f"{REPORT}/report.html")
