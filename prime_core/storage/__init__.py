"""A name in the settings becomes files on this machine. Imports nothing of ours."""
