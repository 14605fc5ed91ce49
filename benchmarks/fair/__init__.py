"""PRIME, outcome rewards alone and TRL, each at its best of as many trials."""
