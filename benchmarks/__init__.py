"""Measurements beside what a user would run instead; each is a command."""
