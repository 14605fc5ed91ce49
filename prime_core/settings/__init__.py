"""What may be set: one file for each section of a run's settings, `run` for the whole."""
