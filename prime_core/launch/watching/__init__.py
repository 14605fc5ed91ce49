"""A run as it goes: lines on the console, the report renewed, trackers."""
