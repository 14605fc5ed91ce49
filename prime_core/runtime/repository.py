"""Where this checkout lies: workflow, configs and cluster profiles stand beside the package."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
