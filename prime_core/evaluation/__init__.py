"""Judged responses become figures with intervals."""
