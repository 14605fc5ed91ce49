"""Launching a run's workflow; following, accounting for and cancelling it."""
