"""A run beside a published one."""
