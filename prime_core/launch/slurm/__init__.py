"""Slurm: its commands, the adapted executor, and jobs that are held, lost or orphaned."""
