"""A run compared with a published one."""
