"""Where the weight of an iteration's KL stands, for the graph and for the stage that reads it."""

from __future__ import annotations

from pathlib import Path

from prime_core.run.layout import RunFiles
from prime_core.settings.run import Settings


def kl_coef_files(settings: Settings, files: RunFiles, iteration: int) -> list[Path]:
    """Figures of the iteration before, with an adaptive KL; nothing where policy.kl_coef holds."""
    # A branch begins with its own kl_coef: its origin may have had another controller, or none.
    if settings.policy.kl_controller == "fixed" or iteration == settings.start + 1:
        return []
    return [files.metrics(iteration - 1, "policy")]
