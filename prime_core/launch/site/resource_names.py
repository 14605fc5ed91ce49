"""Names of Snakemake's resources that are this workflow's own."""

# Counts a job's GPUs on all of its nodes. Not `gpu`, which Slurm's plugin would turn into --gpus:
# docs/decisions.md#gres.
GPUS = "gpu_count"
# The name that people know it by, in --set-resources and --resources.
GPUS_ASKED = "gpu"
