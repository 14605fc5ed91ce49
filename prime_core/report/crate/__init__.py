"""A run packed as an RO-Crate."""
