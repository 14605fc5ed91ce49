"""PRIME as a workflow: `snakemake` runs the quickstart; `--configfile` names another run.

REQUIRED INPUTS: settings (configs/*.yaml, overridden by --config).
OUTPUTS: results/<run>/, and its report in results/<run>/report/report.html.
"""

from snakemake.utils import min_version

min_version("9.10")

if not workflow.overwrite_configfiles:

    configfile: "configs/quickstart.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/start.smk"
include: "workflow/rules/rollout.smk"
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
