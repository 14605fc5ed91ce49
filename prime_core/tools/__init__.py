"""Interactive commands on files or runs, outside the graph."""
