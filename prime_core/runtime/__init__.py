"""What every process does: print, lock, stop when asked. Imports nothing of ours."""
