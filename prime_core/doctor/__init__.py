"""`prime doctor`: whether this machine has what a run needs, found out before a job waits."""
