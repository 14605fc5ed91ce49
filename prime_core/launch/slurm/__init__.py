"""Slurm: its commands, the executor's adaptation, jobs held, lost and found again."""
