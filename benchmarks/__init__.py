"""Measurements side by side with what a user would run instead; each is a command."""
