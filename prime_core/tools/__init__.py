"""Commands by hand on files or runs; no part of the graph."""
