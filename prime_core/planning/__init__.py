"""What a run will need, from numbers alone: memory, disk, seconds. No model is loaded."""
