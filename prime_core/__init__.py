"""PRIME: the mathematics, the stages and the command line of the workflow."""
