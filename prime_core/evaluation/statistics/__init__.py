"""Intervals and tests for proportions, means and votes; imports nothing of ours."""
