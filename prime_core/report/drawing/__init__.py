"""A run's tables become figures, as SVG text."""
