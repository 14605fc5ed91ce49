"""Tests on a real Slurm, started for them and thrown away."""
