"""What every process does: print, lock, stop when told. Imports nothing of ours."""
