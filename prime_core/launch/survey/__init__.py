"""What Slurm reports about a cluster, and the site file derived from it."""
