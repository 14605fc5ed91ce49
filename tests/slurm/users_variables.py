"""A user's environment full of options of Slurm's commands, as start-up files leave them.

Each would hide jobs, send them elsewhere or have them refused, if anything heeded it. The tests of
this folder run the workflow in it (docs/decisions.md#slurm-variables).
"""

HOSTILE = {
    # Filters: what they hide would be taken for gone, and submitted again.
    "SQUEUE_PARTITION": "nowhere",
    "SQUEUE_USERS": "nobody",
    "SQUEUE_ACCOUNT": "nosuch",
    "SQUEUE_QOS": "nosuch",
    "SQUEUE_NAMES": "nosuch",
    "SQUEUE_LICENSES": "nosuch",
    "SQUEUE_STATES": "SUSPENDED",
    "SQUEUE_FORMAT": "%A",
    "SQUEUE_SORT": "i",
    "SCANCEL_PARTITION": "nowhere",
    "SCANCEL_STATE": "SUSPENDED",
    "SCANCEL_USER": "nobody",
    "SCANCEL_INTERACTIVE": "1",
    "SACCT_FORMAT": "jobid",
    "SINFO_PARTITION": "nowhere",
    "SINFO_FORMAT": "%P",
    "SCONTROL_ALL": "1",
    # Requests: the jobs' own stand in site.yaml and stages.yaml.
    **{
        f"{command}_{option}": value
        for command in ("SBATCH", "SALLOC", "SRUN", "SLURM")
        for option, value in {
            "ACCOUNT": "nosuch",
            "PARTITION": "nowhere",
            "QOS": "nosuch",
            "RESERVATION": "nosuch",
            "CONSTRAINT": "nosuch",
            "GRES": "gpu:nosuch:9",
            "TIMELIMIT": "1",
            "NTASKS": "9",
            "HOLD": "1",
        }.items()
    },
    "SBATCH_NO_REQUEUE": "1",
    "SBATCH_OPEN_MODE": "truncate",
    "SBATCH_EXPORT": "NONE",
    "SLURM_EXPORT_ENV": "NONE",
    "SLURM_CLUSTERS": "elsewhere",
    "SLURM_TIME_FORMAT": "relative",
    "SLURM_BITSTR_LEN": "1",
    "SLURM_DEBUG": "3",
}
