"""PRIME as a workflow: `snakemake` runs the quickstart; `--configfile` names another run.

`snakemake ablations` runs the paper's comparisons in miniature: many runs, each with this Snakefile.

REQUIRED INPUTS: settings (configs/*.yaml, overridden by --config).
OUTPUTS: results/<run>/, and its report in results/<run>/report/report.html.
"""

import os
import sys

from snakemake.utils import min_version

from prime_core.launch.arguments import asks_for_ablations

min_version("9.10")

# From the command line: at parse time Snakemake has not been told its targets yet.
MANY_RUNS = asks_for_ablations(sys.argv[1:])
# Beside this file, since Snakemake may be started in another folder.
CONFIGS = os.path.relpath(f"{workflow.basedir}/configs")
if not workflow.overwrite_configfiles:

    configfile: f"{CONFIGS}/{'ablations/ablations' if MANY_RUNS else 'quickstart'}.yaml"


report: "workflow/report/workflow.rst"


if MANY_RUNS:

    include: "workflow/rules/ablations.smk"

else:

    include: "workflow/rules/common.smk"
    include: "workflow/rules/start.smk"
    include: "workflow/rules/difficulty.smk"
    include: "workflow/rules/branch.smk"
    include: "workflow/rules/offline.smk"
    include: "workflow/rules/rollout.smk"
    include: "workflow/rules/continuations.smk"
    include: "workflow/rules/learning.smk"
    include: "workflow/rules/evaluation.smk"

    localrules:
        all,

    rule all:
        """The run's tables, final weights, evaluations and report."""
        default_target: True
        input:
            TARGETS.all,

    onstart:
        begin_run()

    onsuccess:
        end_run()
