"""What Slurm says of a cluster, and the site file made of it."""
