"""The report of a run: tables, figures, page and TensorBoard events."""
