"""The root of this checkout: workflow, configs and cluster profiles are beside the package."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
