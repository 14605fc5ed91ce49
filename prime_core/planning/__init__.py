"""Estimates of what a run will need: memory, disk, seconds. Arithmetic only, no model is loaded."""
