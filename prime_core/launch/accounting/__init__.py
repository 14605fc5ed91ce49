"""What a run costs on Slurm: its jobs as Slurm counts them, and the budget."""
