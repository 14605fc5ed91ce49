"""Sources of problems and demonstrations."""
