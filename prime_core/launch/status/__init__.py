"""The state of a run: progress, logs, processes; and cancelling it."""
