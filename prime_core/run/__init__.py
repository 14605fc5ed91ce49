"""A run on disk: paths, tables, job records, the table of stages, state."""
